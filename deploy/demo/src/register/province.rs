//! The 34 provinces since July 2025, each with the code of its lead province.

use std::fmt;

use super::{chance, draw};

/// A province of the register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Province(
    // INVARIANT: below `COUNT`.
    u8,
);

impl Province {
    pub(super) const FIRST: Self = Self(0);

    /// All of them, by code.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COUNT as u8).map(Self)
    }

    /// The province of a code such as 79.
    pub fn of_code(code: u16) -> Option<Self> {
        PROVINCES.binary_search_by_key(&code, |row| row.code).ok().map(|index| Self(index as u8))
    }

    /// The place in the list: below [`COUNT`].
    pub(super) fn index(self) -> u64 {
        self.0.into()
    }

    /// The code as a number: 1 for `001`.
    pub fn code(self) -> u16 {
        self.row().code
    }

    /// The code as records write it: three digits.
    pub fn code_text(self) -> String {
        format!("{:03}", self.code())
    }

    /// The name with its diacritics, NFC.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// A city governed centrally: its communes are mostly wards.
    pub(super) fn is_city(self) -> bool {
        self.row().city
    }

    /// Thousands of inhabitants, rounded; a weight.
    pub(super) fn weight(self) -> u64 {
        u64::from(self.row().thousands)
    }

    /// The ethnicity of a male line of this province.
    pub(super) fn ethnicity(self, seed: u64) -> &'static str {
        let row = self.row();
        if chance(seed, 0x65, u64::from(row.minority_per_mille)) { row.minority } else { "Kinh" }
    }

    /// The province `steps` further in the list, around its end.
    pub(super) fn shifted(self, steps: u64) -> Self {
        Self(((u64::from(self.0) + steps) % COUNT as u64) as u8)
    }

    /// The province from which [`Self::shifted`] by `steps` leads here.
    pub(super) fn unshifted(self, steps: u64) -> Self {
        self.shifted(COUNT as u64 - steps % COUNT as u64)
    }

    /// A province that a household may have moved to, the populous ones more often.
    pub(super) fn attracting(seed: u64) -> Self {
        let total: u64 = Self::all().map(Self::weight).sum();
        let mut rest = draw(seed, 0x61) % total.max(1);
        for province in Self::all() {
            match rest.checked_sub(province.weight()) {
                Some(less) => rest = less,
                None => return province,
            }
        }
        Self::FIRST
    }

    fn row(self) -> &'static Row {
        PROVINCES.get(usize::from(self.0)).unwrap_or(&HA_NOI)
    }
}

impl fmt::Debug for Province {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {}", self.code(), self.name())
    }
}

struct Row {
    code: u16,
    name: &'static str,
    thousands: u16,
    city: bool,
    minority: &'static str,
    minority_per_mille: u16,
}

const fn row(
    code: u16,
    name: &'static str,
    thousands: u16,
    city: bool,
    minority: &'static str,
    minority_per_mille: u16,
) -> Row {
    Row { code, name, thousands, city, minority, minority_per_mille }
}

/// How many there are.
pub const COUNT: usize = 34;

const HA_NOI: Row = row(1, "Hà Nội", 8807, true, "Kinh", 0);

/// Sorted by code.
static PROVINCES: [Row; COUNT] = [
    row(1, "Hà Nội", 8807, true, "Kinh", 0),
    row(4, "Cao Bằng", 574, false, "Tày", 900),
    row(8, "Tuyên Quang", 1866, false, "Tày", 550),
    row(10, "Lào Cai", 1778, false, "Mông", 550),
    row(11, "Điện Biên", 673, false, "Thái", 800),
    row(12, "Lai Châu", 512, false, "Thái", 800),
    row(14, "Sơn La", 1404, false, "Thái", 800),
    row(19, "Thái Nguyên", 1800, false, "Tày", 280),
    row(20, "Lạng Sơn", 881, false, "Nùng", 820),
    row(22, "Quảng Ninh", 1497, false, "Dao", 110),
    row(24, "Bắc Ninh", 3619, false, "Kinh", 0),
    row(25, "Phú Thọ", 4023, false, "Mường", 230),
    row(31, "Hải Phòng", 4665, true, "Kinh", 0),
    row(33, "Hưng Yên", 3568, false, "Kinh", 0),
    row(37, "Ninh Bình", 4412, false, "Kinh", 0),
    row(38, "Thanh Hóa", 4324, false, "Mường", 160),
    row(40, "Nghệ An", 3832, false, "Thái", 140),
    row(42, "Hà Tĩnh", 1622, false, "Kinh", 0),
    row(44, "Quảng Trị", 1870, false, "Bru-Vân Kiều", 50),
    row(46, "Huế", 1432, true, "Kinh", 0),
    row(48, "Đà Nẵng", 3065, true, "Cơ Tu", 30),
    row(51, "Quảng Ngãi", 2161, false, "Ba Na", 250),
    row(52, "Gia Lai", 3583, false, "Gia Rai", 260),
    row(56, "Khánh Hòa", 2243, false, "Ra Glai", 140),
    row(66, "Đắk Lắk", 3346, false, "Ê Đê", 240),
    row(68, "Lâm Đồng", 3872, false, "Cơ Ho", 170),
    row(75, "Đồng Nai", 4491, false, "Xtiêng", 90),
    row(79, "Hồ Chí Minh", 14002, true, "Hoa", 50),
    row(80, "Tây Ninh", 3254, false, "Kinh", 0),
    row(82, "Đồng Tháp", 4370, false, "Kinh", 0),
    row(86, "Vĩnh Long", 4257, false, "Khmer", 140),
    row(91, "An Giang", 4953, false, "Khmer", 110),
    row(92, "Cần Thơ", 4200, true, "Khmer", 170),
    row(96, "Cà Mau", 2606, false, "Khmer", 70),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_lead_back() {
        assert!(PROVINCES.windows(2).all(|pair| pair[0].code < pair[1].code));
        for province in Province::all() {
            assert_eq!(Province::of_code(province.code()), Some(province));
            for steps in 0..80 {
                assert_eq!(province.shifted(steps).unshifted(steps), province);
            }
        }
    }
}
