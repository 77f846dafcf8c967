//! Places where households live: plausible words, no real address.

use super::{draw, pick, province::Province};

/// A ward (`Phường`) or commune (`Xã`).
pub(super) fn ward(province: Province, seed: u64) -> String {
    let urban = draw(seed, 0x30) % 100 < if province.is_city() { 75 } else { 30 };
    format!("{} {}", if urban { "Phường" } else { "Xã" }, two_words(seed))
}

/// House and street, or hamlet.
pub(super) fn address(seed: u64) -> String {
    let number = draw(seed, 0x33) % 290 + 1;
    if draw(seed, 0x34) % 10 < 6 {
        format!("Số {number}, đường {}", pick(STREET, seed, 0x35))
    } else {
        format!("Số {number}, thôn {} {}", pick(FIRST, seed, 0x36), number % 9 + 1)
    }
}

/// As wards are named, and other places.
pub(super) fn two_words(seed: u64) -> String {
    format!("{} {}", pick(FIRST, seed, 0x31), pick(SECOND, seed, 0x32))
}

const FIRST: &[&str] = &[
    "Tân", "Hòa", "An", "Bình", "Phú", "Vĩnh", "Long", "Thanh", "Đông", "Nam", "Hưng", "Yên", "Mỹ", "Xuân", "Quang",
    "Thạnh", "Đại", "Hải", "Trung", "Minh",
];

const SECOND: &[&str] = &[
    "Lập", "Hưng", "Thành", "Phước", "Sơn", "Hà", "Thịnh", "Lộc", "Châu", "Giang", "Khánh", "Mỹ", "Hiệp", "Trị", "Lâm",
    "Thủy", "Tiến", "Phong", "Đức", "Lợi",
];

const STREET: &[&str] = &[
    "Hoa Sữa",
    "Hoa Phượng",
    "Cây Bàng",
    "Bờ Sông",
    "Ven Hồ",
    "Chợ Mới",
    "Đồng Lúa",
    "Đê Cũ",
    "Giếng Đá",
    "Cầu Gỗ Mới",
    "Bến Đò",
    "Vườn Nhãn",
    "Hàng Tre",
    "Đồi Chè",
    "Ruộng Muối",
    "Làng Gốm",
];
