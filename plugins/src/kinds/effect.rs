//! What a built-in plugin does where it does something: refuse, answer as unknown, or take fields away.

use popgate_policy::model::{MaskKind, Treatment};
use popgate_policy::narrow::{Narrowing, Scope};

use crate::settings::{Named, Settings, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Refuse,
    Unknown,
    Narrow,
}

/// Reads `<key> = "refuse" | "unknown" | "narrow"`, and for the last `withhold` and `cap`. What is not said is `default`, or, where
/// fields are named, `narrow`. A refusal tells the caller `remedy`.
pub(super) fn read(
    settings: &Settings<'_>,
    key: &'static str,
    default: &'static str,
    remedy: &'static str,
) -> Option<Narrowing> {
    let ways = [("refuse", Way::Refuse), ("unknown", Way::Unknown), ("narrow", Way::Narrow)];
    let typed = settings.has(key);
    let way = settings.optional(key, |settings, value| settings.choice(value, &ways));
    let fields = fields(settings);
    let names_fields = settings.has("withhold") || settings.has("cap");
    let assumed = if names_fields { "narrow" } else { default };
    let assumed = ways.iter().find(|(name, _)| *name == assumed).map(|(_, way)| *way);
    let way = if typed { way? } else { assumed? };
    if way == Way::Narrow && !names_fields {
        let help = "add `withhold = [\"contact\"]` or `cap = { \"Citizen.date_of_birth\" = \"year\" }`";
        settings.mend("nothing-taken", settings.place(key), "no field is named: nothing would be taken away", help);
        return None;
    }
    if way != Way::Narrow && names_fields {
        let place = settings.place(if settings.has("withhold") { "withhold" } else { "cap" });
        let help = format!("write `{key} = \"narrow\"`, or remove it");
        settings.mend("fields-unused", place, "fields are named, and the whole answer is taken away", help);
        return None;
    }
    match way {
        Way::Refuse => Some(Narrowing::refuse(remedy)),
        Way::Unknown => Some(Narrowing::hide()),
        Way::Narrow => fields,
    }
}

/// `withhold = ["contact", "Citizen.phone", "*"]` and `cap = { "Citizen.date_of_birth" = "year", identity = "match" }`.
fn fields(settings: &Settings<'_>) -> Option<Narrowing> {
    let mut narrowing = Some(Narrowing::NONE);
    let mut take = |scope: Option<(Scope, Treatment)>| {
        narrowing = narrowing.take().zip(scope).map(|(narrowing, (scope, most))| narrowing.at_most(scope, most));
    };
    if settings.has("withhold") {
        match settings.names("withhold", Named::Scope) {
            Some(names) => names.iter().for_each(|name| take(Some((Scope::parse(name), Treatment::Withhold)))),
            None => take(None),
        }
    }
    for (name, span, value) in settings.entries("cap") {
        settings.mention(Named::Scope, name, span);
        take(treatment(settings, value).map(|most| (Scope::parse(name), most)));
    }
    narrowing
}

fn treatment<'r>(settings: &Settings<'r>, value: Value<'r>) -> Option<Treatment> {
    let mut choices: Vec<_> = MaskKind::ALL.iter().map(|mask| (mask.as_str(), Treatment::Mask(*mask))).collect();
    choices.extend([("match", Treatment::Match), ("withhold", Treatment::Withhold)]);
    settings.choice(value, &choices)
}
