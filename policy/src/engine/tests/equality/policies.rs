//! Random policies that are validated strictly, and say everything that Cedar can say of a request here.

use super::dice::Dice;
use super::world::{ADDRESSES, GROUPS, LEVELS, Names, PURPOSES, SECTORS, TEXTS, pattern};

pub(super) fn policy(at: i64, names: &Names, dice: &mut Dice) -> String {
    let field = dice.of(&names.fields).clone();
    let single = dice.one_in(4);
    // A mask must be one that the field allows, where a policy names one field.
    let operator = if dice.one_in(3) { "in" } else { "==" };
    let resource = if single { format!("resource {operator} Field::\"{}\"", field.name) } else { resource(dice) };
    let mask = |dice: &mut Dice| {
        let masks: Vec<&str> = if single {
            field.masks.iter().copied().chain(["match"]).collect()
        } else {
            vec!["match", "year", "month", "exists", "last3", "initials", "pseudonym"]
        };
        (*dice.of(&masks)).to_owned()
    };
    let (effect, force) = match dice.below(8) {
        0..=2 => ("permit", String::new()),
        3 | 4 => ("permit", format!("@mask(\"{}\") ", mask(dice))),
        5 => ("forbid", String::new()),
        _ => ("forbid", format!("@at_most(\"{}\") ", mask(dice))),
    };
    let validity = match dice.below(10) {
        0 => "@valid_from(\"2026-11-20\") ",
        1 => "@valid_until(\"2026-11-21\") ",
        2 => "@valid_from(\"2026-11-20\") @valid_until(\"2026-11-22\") ",
        _ => "",
    };
    // Some say one thing about everybody: in those with many conditions a mistake in one seldom shows.
    let plain = dice.one_in(2);
    let (many, depth) = if plain { (1, 0) } else { (dice.below(3), 3) };
    let conditions: String = (0..many)
        .map(|_| {
            let kind = if dice.one_in(3) { "unless" } else { "when" };
            format!(" {kind} {{ {} }}", truth(depth, names, dice))
        })
        .collect();
    let (principal, action) = match plain {
        true => ("principal".to_owned(), "action".to_owned()),
        false => (principal(names, dice), action(names, dice)),
    };
    format!(
        "@id(\"p{at}\") @basis(\"Law\") {validity}{force}{effect}({principal}, {action}, {resource}){conditions};\n"
    )
}

fn principal(names: &Names, dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => format!("principal in Sector::\"{}\"", sector(dice)),
        1 => "principal in Level::\"province\"".to_owned(),
        2 => format!("principal in Agency::\"{}\"", dice.of(&names.agencies)),
        3 => format!("principal == System::\"{}\"", dice.of(&names.systems)),
        4 => format!("principal is System in Agency::\"{}\"", dice.of(&names.agencies)),
        _ => "principal".to_owned(),
    }
}

fn action(names: &Names, dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => format!("action == Action::\"{}\"", dice.of(&names.operations)),
        1 => "action in [Action::\"person.read\", Action::\"person.look\"]".to_owned(),
        2 => "action in Action::\"with-minor\"".to_owned(),
        3 => "action in Action::\"register-population\"".to_owned(),
        _ => "action".to_owned(),
    }
}

fn resource(dice: &mut Dice) -> String {
    match dice.below(7) {
        0 => format!("resource in Group::\"{}\"", group(dice)),
        1 => "resource in Class::\"basic\"".to_owned(),
        2 => "resource in Register::\"population\"".to_owned(),
        3 => format!("resource is Field in Group::\"{}\"", group(dice)),
        _ => "resource".to_owned(),
    }
}

/// An expression that is true or false.
fn truth(depth: i64, names: &Names, dice: &mut Dice) -> String {
    if depth > 0 && dice.one_in(2) {
        let part = |dice: &mut Dice| truth(depth - 1, names, dice);
        return match dice.below(5) {
            0 => format!("({} || {})", part(dice), part(dice)),
            1 => format!("!({})", part(dice)),
            2 => format!("(if {} then {} else {})", part(dice), part(dice), part(dice)),
            _ => format!("({} && {})", part(dice), part(dice)),
        };
    }
    match dice.below(11) {
        10 => of_principal(names, dice),
        0 | 1 => of_purpose(dice),
        2 | 3 => of_record(names, dice),
        4..=6 => of_circumstances(dice),
        7 => of_resource(names, dice),
        8 => of_principal(names, dice),
        _ => of_constants(dice),
    }
}

fn of_purpose(dice: &mut Dice) -> String {
    let (one, two) = (*dice.of(&PURPOSES), *dice.of(&PURPOSES));
    match dice.below(4) {
        0 => format!("context.purpose != Purpose::\"{one}\""),
        1 => format!("[Purpose::\"{one}\", Purpose::\"{two}\"].contains(context.purpose)"),
        2 => format!("context.purpose in [Purpose::\"{one}\", Purpose::\"{two}\"]"),
        _ => format!("context.purpose == Purpose::\"{one}\""),
    }
}

fn of_record(names: &Names, dice: &mut Dice) -> String {
    let text = format!("context.record.{}", dice.of(&names.texts));
    let literal = *dice.of(&TEXTS);
    match dice.below(8) {
        0 => format!("{text} == \"{literal}\""),
        7 => format!("{text} like \"{}\"", pattern(dice)),
        1 if dice.one_in(2) => format!("{text} like \"{}\"", pattern(dice)),
        1 => format!("{text} like \"{}\"", dice.of(&["0*", "*1", "*4*", "00\\*", "*", "0*6", "001*01", "*01"])),
        2 => format!("[\"001\", \"{literal}\"].contains({text})"),
        3 => format!("(principal has province && {text} == principal.province)"),
        4 => format!("{text} != (if context.env.hour < 12 then \"001\" else \"{literal}\")"),
        _ => format!("context.record.{}", dice.of(&names.truths)),
    }
}

fn of_circumstances(dice: &mut Dice) -> String {
    let compare = *dice.of(&["<", "<=", ">", ">=", "==", "!="]);
    let address = *dice.of(&ADDRESSES);
    let networks = ["10.0.0.0/8", "10.20.0.0/16", "127.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "10.20.0.5", "::/0"];
    let day = 18 + dice.below(9);
    match dice.below(17) {
        0 => format!("context.env.hour {compare} {}", dice.below(24)),
        1 => format!("context.env.minute_of_day {compare} {}", dice.below(1440)),
        2 => format!("context.env.weekday {compare} {}", 1 + dice.below(7)),
        // May be too large a number.
        3 => format!("context.env.hour + 9223372036854775797 {compare} {}", dice.below(24)),
        4 => format!("context.env.hour * {} - context.env.weekday {compare} 40", 1 + dice.below(5)),
        5 => format!("-context.env.hour {compare} -{}", 1 + dice.below(23)),
        6 => "context.env.claimed_user".to_owned(),
        7 => "context.env.claimed_case".to_owned(),
        8 => {
            format!("(context.env has claimed_assurance && context.env.claimed_assurance == \"{}\")", dice.of(&LEVELS))
        }
        9 => "(context.env has claimed_assurance && context.env.claimed_assurance like \"*i*\")".to_owned(),
        10 => format!("context.env.source.isInRange(ip(\"{}\"))", dice.of(&networks)),
        11 => format!("context.env.source.{}()", dice.of(&["isIpv4", "isIpv6", "isLoopback", "isMulticast"])),
        12 => format!("context.env.source == ip(\"{address}\")"),
        13 => format!("context.env.today {compare} datetime(\"2026-11-{day}\")"),
        // Without a form of their own: left to Cedar.
        14 => format!("context.env.today.offset(duration(\"{}d\")) < datetime(\"2026-11-{day}\")", dice.below(4)),
        15 => format!("context.env.today.durationSince(datetime(\"2026-11-{day}\")).toDays() {compare} 1"),
        _ => format!("context.env.today {compare} datetime(\"2026-11-{day}T00:00:00Z\")"),
    }
}

fn of_resource(names: &Names, dice: &mut Dice) -> String {
    let (one, two) = (&dice.of(&names.fields).name, group(dice));
    match dice.below(7) {
        0 => format!("resource == Field::\"{one}\""),
        1 => format!("resource in [Group::\"{two}\", Group::\"{}\"]", group(dice)),
        2 => "resource in Class::\"sensitive\"".to_owned(),
        3 => "resource is Field".to_owned(),
        4 => format!("resource is Field in Group::\"{two}\""),
        5 => format!("(resource in Group::\"{two}\" && context.env.today.toDate() > datetime(\"2026-11-20\"))"),
        _ => format!("resource in Group::\"{two}\""),
    }
}

fn of_principal(names: &Names, dice: &mut Dice) -> String {
    match dice.below(14) {
        0 => format!("principal in Sector::\"{}\"", sector(dice)),
        1 => format!("principal == System::\"{}\"", dice.of(&names.systems)),
        2 => format!("principal.sector == \"{}\"", sector(dice)),
        3 => "principal.level like \"p*\"".to_owned(),
        4 => "principal has province".to_owned(),
        5 => format!("principal is System in Agency::\"{}\"", dice.of(&names.agencies)),
        6 => "(principal has province && principal.province == \"001\")".to_owned(),
        7 => format!("[\"tax\", \"{}\"].contains(principal.sector)", sector(dice)),
        8 => format!("action == Action::\"{}\"", dice.of(&names.operations)),
        // Left to Cedar, with the caller in it.
        9 => format!(
            "context.env.today.offset(duration(\"1d\")) < (if principal in Sector::\"{}\" then datetime(\"2026-11-24\") else datetime(\"2026-11-21\"))",
            sector(dice)
        ),
        _ => format!(
            "(principal has province && [context.record.{}].contains(principal.province))",
            dice.of(&names.texts)
        ),
    }
}

fn of_constants(dice: &mut Dice) -> String {
    match dice.below(7) {
        // Fails for everybody.
        6 => "9223372036854775807 + 1 > 0".to_owned(),
        0 => "decimal(\"1.5\").lessThan(decimal(\"1.25\"))".to_owned(),
        1 => "decimal(\"-0.5\").greaterThanOrEqual(decimal(\"-0.75\"))".to_owned(),
        2 => "[1, 2, 3].containsAll([1, 3])".to_owned(),
        3 => "[\"a\", \"b\"].containsAny([\"c\"])".to_owned(),
        4 => "ip(\"10.1.0.0/16\").isInRange(ip(\"10.0.0.0/8\"))".to_owned(),
        _ => "datetime(\"2026-11-20\") < datetime(\"2026-11-21\")".to_owned(),
    }
}

fn group(dice: &mut Dice) -> &'static str {
    GROUPS[usize::try_from(dice.below(4)).unwrap()]
}

fn sector(dice: &mut Dice) -> &'static str {
    SECTORS[usize::try_from(dice.below(3)).unwrap()]
}
