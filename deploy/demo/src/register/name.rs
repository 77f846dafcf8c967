//! Vietnamese names: family name, middle name, given name, about as often as they occur.

use super::{Sex, chance, draw, pick};

/// The family name of a male line: all who descend from it bear it.
pub(super) fn family(line: u64) -> &'static str {
    let mut rest = draw(line, 0x66) % 1000;
    for (name, per_mille) in FAMILY {
        match rest.checked_sub(*per_mille) {
            Some(less) => rest = less,
            None => return name,
        }
    }
    pick(RARE_FAMILY, line, 0x67)
}

/// The full name of a person of this line.
pub(super) fn full(line: u64, sex: Sex, year: i16, seed: u64) -> String {
    let traditional = if year < 1975 { 700 } else { 330 };
    let (middle, given) = match sex {
        Sex::Male if chance(seed, 1, traditional) => ("Văn", pick(GIVEN_MALE, seed, 2)),
        Sex::Male => (pick(MIDDLE_MALE, seed, 3), pick(GIVEN_MALE, seed, 2)),
        Sex::Female if chance(seed, 1, traditional) => ("Thị", pick(GIVEN_FEMALE, seed, 2)),
        Sex::Female => (pick(MIDDLE_FEMALE, seed, 3), pick(GIVEN_FEMALE, seed, 2)),
    };
    let family = family(line);
    let mut name = String::with_capacity(family.len() + middle.len() + given.len() + 2);
    for (at, part) in [family, middle, given].into_iter().enumerate() {
        if at > 0 {
            name.push(' ');
        }
        name.push_str(part);
    }
    name
}

/// What a person is also called: mostly nothing.
pub(super) fn others(sex: Sex, seed: u64) -> Vec<&'static str> {
    if !chance(seed, 4, 30) {
        return Vec::new();
    }
    let list = match sex {
        Sex::Male => GIVEN_MALE,
        Sex::Female => GIVEN_FEMALE,
    };
    vec![pick(list, seed, 5)]
}

/// Per mille (Lê Trung Hoa, Họ và tên người Việt Nam, 2005).
const FAMILY: &[(&str, u64)] = &[
    ("Nguyễn", 384),
    ("Trần", 110),
    ("Lê", 95),
    ("Phạm", 70),
    ("Hoàng", 40),
    ("Huỳnh", 28),
    ("Phan", 45),
    ("Vũ", 23),
    ("Võ", 16),
    ("Đặng", 21),
    ("Bùi", 20),
    ("Đỗ", 14),
    ("Hồ", 13),
    ("Ngô", 13),
    ("Dương", 10),
    ("Lý", 5),
];

const RARE_FAMILY: &[&str] = &[
    "Đinh", "Đào", "Đoàn", "Lương", "Trịnh", "Trương", "Mai", "Tô", "Tạ", "Hà", "Cao", "Châu", "Lâm", "Phùng", "Quách",
    "Thái", "Triệu", "Vương", "Chu", "La", "Tăng", "Kiều", "Từ", "Hứa", "Nghiêm", "Khuất", "Bạch", "Doãn", "Lưu",
    "Lại",
];

const MIDDLE_MALE: &[&str] = &[
    "Hữu", "Đức", "Minh", "Quang", "Xuân", "Ngọc", "Công", "Đình", "Thành", "Quốc", "Anh", "Duy", "Gia", "Hoàng",
    "Trọng", "Thanh", "Bá", "Tiến", "Mạnh", "Thế", "Hải", "Việt", "Nhật", "Khắc", "Tuấn", "Phúc", "Chí", "Đăng",
];

const GIVEN_MALE: &[&str] = &[
    "Hùng",
    "Dũng",
    "Nam",
    "Minh",
    "Tuấn",
    "Anh",
    "Long",
    "Hải",
    "Sơn",
    "Quân",
    "Đức",
    "Thắng",
    "Cường",
    "Hưng",
    "Huy",
    "Khánh",
    "Khoa",
    "Kiên",
    "Lâm",
    "Linh",
    "Lộc",
    "Mạnh",
    "Nghĩa",
    "Nhân",
    "Phong",
    "Phúc",
    "Phước",
    "Quang",
    "Tâm",
    "Tân",
    "Thành",
    "Thịnh",
    "Tiến",
    "Toàn",
    "Trung",
    "Trường",
    "Tùng",
    "Việt",
    "Vinh",
    "Bình",
    "Bảo",
    "Chiến",
    "Đạt",
    "Duy",
    "Hiếu",
    "Hòa",
    "Hoàng",
    "Đông",
    "An",
    "Thái",
];

const MIDDLE_FEMALE: &[&str] = &[
    "Ngọc", "Thu", "Thanh", "Phương", "Kim", "Minh", "Hồng", "Bích", "Mai", "Thùy", "Quỳnh", "Diệu", "Khánh", "Hoài",
    "Bảo", "Như", "Mỹ", "Tuyết", "Ánh", "Cẩm", "Hải", "Lan", "Xuân", "Thảo", "Tường", "Yến", "Hà", "Linh",
];

const GIVEN_FEMALE: &[&str] = &[
    "Hoa",
    "Lan",
    "Hương",
    "Huệ",
    "Mai",
    "Hồng",
    "Hà",
    "Thu",
    "Thủy",
    "Trang",
    "Linh",
    "Anh",
    "Ngọc",
    "Nga",
    "Nhung",
    "Oanh",
    "Phương",
    "Phượng",
    "Quyên",
    "Tâm",
    "Thảo",
    "Thanh",
    "Thúy",
    "Trâm",
    "Trinh",
    "Tuyết",
    "Uyên",
    "Vân",
    "Vy",
    "Yến",
    "An",
    "Bích",
    "Châu",
    "Chi",
    "Diễm",
    "Dung",
    "Duyên",
    "Giang",
    "Hạnh",
    "Hằng",
    "Hiền",
    "Hường",
    "Khanh",
    "Kiều",
    "Lệ",
    "Liên",
    "Loan",
    "Ly",
    "My",
    "Ngân",
    "Nhi",
    "Như",
    "Quỳnh",
    "Xuân",
];
