//! What decides beside the policies who may ask for what: purposes, certificates, networks, guards, parameters.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::{Aspect, Direction, Pair, pairs};
use crate::analysis::seat;
use crate::bundle::Bundle;
use crate::contract::{Answer, Attribute, Class, Derive, Operation, Parameter, RecordSchema, Role};
use crate::directory::{Exchange, Purpose, System};

mod asking;
mod persons;

/// What is different, one sentence each, and the sensitive fields of which that shows more. What is in one bundle only is told by what
/// is shown through it.
pub(super) fn aspects(old: &Bundle, new: &Bundle) -> (Vec<Aspect>, BTreeSet<String>) {
    let mut found = Found { aspects: Vec::new(), sensitive: BTreeSet::new() };
    let (before, after) = (old.directory(), new.directory());
    let purposes = [before, after].map(|directory| directory.purposes().cloned().collect::<Vec<_>>());
    let [old_purposes, new_purposes] = &purposes;
    both(&pairs(old_purposes, new_purposes, |purpose| purpose.id.clone()), |name, old, new| {
        found.purpose(name, old, new)
    });
    both(&pairs(before.systems(), after.systems(), |system| system.id.clone()), |name, old, new| {
        found.system(name, old, new)
    });
    for exchange in pairs(before.exchanges(), after.exchanges(), |exchange| exchange.id.clone()) {
        match (exchange.of(0), exchange.of(1)) {
            (Some(old), Some(new)) => found.exchange(old, new),
            (None, Some(_)) => found.say(Direction::Widens, format!("exchange server `{}` is new", exchange.name)),
            (Some(_), None) => found.say(Direction::Narrows, format!("exchange server `{}` is gone", exchange.name)),
            (None, None) => {}
        }
    }
    let (before, after) = (old.contracts(), new.contracts());
    both(&pairs(before.operations(), after.operations(), |operation| operation.id.clone()), |name, old, operation| {
        let already = found.aspects.len();
        found.operation(name, old, operation);
        // Who can ask more freely finds more persons, and sees of them what the operation shows.
        if found.aspects.iter().skip(already).any(Aspect::widens) {
            found.sensitive.extend(sensitive(new, operation));
        }
        found.bulk(name, old, operation);
    });
    // Records of one name may have other fields in another contract.
    both(&pairs(before.operations(), after.operations(), |operation| operation.id.clone()), |_, old, new| {
        found.record(&old.record, &new.record);
        found.persons(&old.record, &new.record);
    });
    (found.aspects, found.sensitive)
}

/// The sensitive fields that anybody gets something of by that operation.
fn sensitive(bundle: &Bundle, operation: &Operation) -> BTreeSet<String> {
    let wanted = || operation.record.fields.iter().filter(|field| field.class == Class::Sensitive);
    let mut known = std::collections::HashSet::new();
    let mut found = BTreeSet::new();
    for system in bundle.directory().systems().iter().filter(|_| wanted().next().is_some()) {
        for purpose in seat::purposes(bundle.directory(), system) {
            if known.insert((bundle.engine().shape(system), &purpose.id)) {
                let given = bundle.engine().given(system, operation, &purpose.id);
                found.extend(wanted().filter(|field| given.contains(field.index)).map(|field| field.name.to_string()));
            }
        }
    }
    found
}

impl Aspect {
    fn widens(&self) -> bool {
        matches!(self.direction, Direction::Widens | Direction::Both)
    }
}

fn both<N, T>(all: &[Pair<'_, N, T>], mut each: impl FnMut(&N, &T, &T)) {
    for pair in all {
        if let (Some(old), Some(new)) = (pair.of(0), pair.of(1)) {
            each(&pair.name, old, new);
        }
    }
}

struct Found {
    aspects: Vec<Aspect>,
    sensitive: BTreeSet<String>,
}

impl Found {
    /// Once, for what several operations share.
    fn say(&mut self, direction: Direction, said: String) {
        let aspect = Aspect { direction, said };
        if !self.aspects.contains(&aspect) {
            self.aspects.push(aspect);
        }
    }

    /// More of these lets more happen.
    fn set<T: Ord + Clone>(
        &mut self,
        old: impl IntoIterator<Item = T>,
        new: impl IntoIterator<Item = T>,
        said: impl Fn(&T, bool) -> String,
    ) {
        let (old, new): (BTreeSet<T>, BTreeSet<T>) = (old.into_iter().collect(), new.into_iter().collect());
        for one in new.difference(&old) {
            self.say(Direction::Widens, said(one, true));
        }
        for one in old.difference(&new) {
            self.say(Direction::Narrows, said(one, false));
        }
    }

    /// More of these lets less happen.
    fn demands<T: Ord + Clone>(
        &mut self,
        old: impl IntoIterator<Item = T>,
        new: impl IntoIterator<Item = T>,
        said: impl Fn(&T, bool) -> String,
    ) {
        self.set(new, old, |one, demanded| said(one, !demanded));
    }

    fn purpose(&mut self, name: &impl Display, old: &Purpose, new: &Purpose) {
        let requirement = |what: &crate::directory::Requirement| format!("{what:?}").to_lowercase();
        self.demands(old.requires.iter().map(requirement), new.requires.iter().map(requirement), |what, demanded| {
            let now = if demanded { "now requires" } else { "no longer requires" };
            format!("purpose `{name}` {now} `{what}`")
        });
        let period = |purpose: &Purpose| {
            let day = |day: Option<jiff::civil::Date>, open: &str| day.map_or(open.to_owned(), |day| day.to_string());
            format!("{} to {}", day(purpose.valid_from, "always"), day(purpose.valid_until, "open end"))
        };
        let begins = |purpose: &Purpose| purpose.valid_from.unwrap_or(jiff::civil::Date::MIN);
        let ends = |purpose: &Purpose| purpose.valid_until.unwrap_or(jiff::civil::Date::MAX);
        let wider = begins(new) < begins(old) || ends(new) > ends(old);
        let narrower = begins(new) > begins(old) || ends(new) < ends(old);
        if wider || narrower {
            let direction = direction(wider, narrower);
            self.say(direction, format!("purpose `{name}` is valid {} (was {})", period(new), period(old)));
        }
        if old.break_glass != new.break_glass {
            let lent = if new.break_glass { "is now lent in emergencies" } else { "is no longer lent in emergencies" };
            let direction = if new.break_glass { Direction::Widens } else { Direction::Narrows };
            self.say(direction, format!("purpose `{name}` {lent}"));
        }
    }

    fn system(&mut self, name: &impl Display, old: &System, new: &System) {
        self.set(old.identities.iter().cloned(), new.identities.iter().cloned(), |identity, added| {
            let verb = if added { "may now be" } else { "is no longer" };
            format!("system `{name}` {verb} whoever shows {}", identity_words(identity))
        });
        self.networks("system", name, &old.networks, &new.networks);
        let client = |system: &System| system.xroad.as_ref().map(ToString::to_string);
        self.set(client(old), client(new), |client, added| {
            let verb = if added { "may now be" } else { "is no longer" };
            format!("system `{name}` {verb} the X-Road client `{client}`")
        });
    }

    fn exchange(&mut self, old: &Exchange, new: &Exchange) {
        let name = &new.id;
        self.set(old.identities.iter().cloned(), new.identities.iter().cloned(), |identity, added| {
            let verb = if added { "may now be" } else { "is no longer" };
            format!("exchange server `{name}` {verb} whoever shows {}", identity_words(identity))
        });
        self.networks("exchange server", name, &old.networks, &new.networks);
        let members =
            |exchange: &Exchange| exchange.members.iter().map(|member| member.as_str().to_owned()).collect::<Vec<_>>();
        self.set(members(old), members(new), |member, added| {
            let verb = if added { "now speaks" } else { "no longer speaks" };
            format!("exchange server `{name}` {verb} for `{member}`")
        });
    }

    /// No network at all is every network.
    fn networks(&mut self, kind: &str, name: &impl Display, old: &[ipnet::IpNet], new: &[ipnet::IpNet]) {
        let within = |some: &[ipnet::IpNet], others: &[ipnet::IpNet]| {
            others.is_empty()
                || (!some.is_empty() && some.iter().all(|one| others.iter().any(|other| other.contains(one))))
        };
        let (wider, narrower) = (!within(new, old), !within(old, new));
        if wider || narrower {
            let words = |networks: &[ipnet::IpNet]| {
                let words = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                if words.is_empty() { "anywhere".to_owned() } else { words }
            };
            let said = format!("{kind} `{name}` may come from {} (was {})", words(new), words(old));
            self.say(direction(wider, narrower), said);
        }
    }

    fn operation(&mut self, name: &impl Display, old: &Operation, new: &Operation) {
        let parameters = |operation: &Operation, keep: &dyn Fn(usize) -> bool| {
            let kept = operation.parameters.iter().enumerate().filter(|(at, _)| keep(*at));
            kept.map(|(_, parameter)| parameter.name.clone()).collect::<BTreeSet<_>>()
        };
        let guards =
            |operation: &Operation| parameters(operation, &|at| operation.guard.iter().any(|guard| guard.0 == at));
        self.demands(guards(old), guards(new), |guard, added| {
            let verb = if added { "now lets" } else { "no longer lets" };
            format!("operation `{name}` {verb} the record bear out `{guard}` before anything is shown")
        });
        self.set(parameters(old, &|_| true), parameters(new, &|_| true), |parameter, added| {
            let verb = if added { "can now" } else { "can no longer" };
            format!("operation `{name}` {verb} be asked by `{parameter}`")
        });
        self.asking(name, old, new);
        let asked = |operation: &Operation| {
            let name = |at: crate::contract::ParamIx| operation.parameters.get(at.0).map(|known| known.name.clone());
            let bound = operation.parameters.iter().map(|known| {
                let field = operation.record.field(known.field).map(|field| field.name.clone());
                (known.name.clone(), field, role_words(operation, known))
            });
            let upstream = &operation.upstream;
            (
                std::mem::discriminant(&operation.answer),
                operation.subject.and_then(name),
                bound
                    .filter(|(name, ..)| {
                        [old, new].iter().all(|both| both.parameters.iter().any(|known| known.name == *name))
                    })
                    .collect::<Vec<_>>(),
                upstream.register.clone(),
                upstream_words(operation),
                match &operation.answer {
                    Answer::Whole(whole) => operation.record.field(whole.field).map(|field| field.name.clone()),
                    _ => None,
                },
            )
        };
        if asked(old) != asked(new) {
            let said = format!(
                "operation `{name}` asks its register for something else, is about somebody else, or answers otherwise"
            );
            self.say(Direction::Both, said);
        }
    }

    fn bulk(&mut self, name: &impl Display, old: &Operation, new: &Operation) {
        self.set(old.bulk.then_some(()), new.bulk.then_some(()), |(), added| {
            format!("operation `{name}` {} many requests at once", if added { "now takes" } else { "no longer takes" })
        });
    }

    fn record(&mut self, old: &RecordSchema, new: &RecordSchema) {
        for field in &new.fields {
            let Some(before) = old.field_named(field.name.as_str()) else { continue };
            if before.class != field.class {
                let (direction, class) = match field.class {
                    Class::Sensitive => (Direction::Narrows, "is now sensitive"),
                    Class::Basic => (Direction::Widens, "is no longer sensitive"),
                };
                self.say(direction, format!("field `{}` {class}", field.name));
            }
            if before.compare != field.compare {
                self.say(Direction::Both, format!("field `{}` is compared otherwise with what is claimed", field.name));
            }
        }
        let means = |record: &RecordSchema, attribute: &Attribute| {
            let from = record.field(attribute.from).map(|field| field.name.to_string()).unwrap_or_default();
            match attribute.derive {
                Derive::Value => format!("`{from}`"),
                Derive::Under(years) => format!("whether `{from}` is less than {years} years ago"),
                Derive::Present => format!("whether `{from}` is there"),
            }
        };
        for attribute in &new.attributes {
            let before = old.attributes.iter().find(|known| known.name == attribute.name);
            let (before, after) = (before.map(|before| means(old, before)), means(new, attribute));
            if let Some(before) = before.filter(|before| *before != after) {
                // What that alters is told by field.
                let said = format!("`record.{}` of `{}` is {after} (was {before})", attribute.name, new.name);
                self.say(Direction::None, said);
            }
        }
    }
}

fn direction(wider: bool, narrower: bool) -> Direction {
    match (wider, narrower) {
        (true, true) => Direction::Both,
        (true, false) => Direction::Widens,
        (false, true) => Direction::Narrows,
        (false, false) => Direction::None,
    }
}

fn identity_words(identity: &crate::directory::Identity) -> String {
    match identity {
        crate::directory::Identity::Uri(uri) => format!("`{uri}`"),
        crate::directory::Identity::Subject(subject) => format!("the subject `{subject}`"),
        crate::directory::Identity::Pin(pin) => format!("the key `pin:sha256:{pin}`"),
    }
}

/// What a parameter is for, by the names of fields. How many records a page may hold is a demand on its value.
fn role_words(operation: &Operation, parameter: &Parameter) -> String {
    match &parameter.role {
        Role::Asks => "asks".to_owned(),
        Role::Limit(_) => "limit".to_owned(),
        Role::Cursor => "cursor".to_owned(),
        Role::Sort(orders) => {
            let field = |at| operation.record.field(at).map(|field| field.name.as_str()).unwrap_or_default();
            let orders = orders.iter().map(|(value, by)| format!("{value} by {}", field(*by)));
            format!("sort {}", orders.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What the register is asked, by the names of the parameters.
fn upstream_words(operation: &Operation) -> String {
    let name = |at: crate::contract::ParamIx| {
        operation.parameters.get(at.0).map(|known| known.name.clone()).unwrap_or_default()
    };
    let words = |template: &crate::contract::UpstreamTemplate| {
        let segments = template.segments.iter().map(|segment| match segment {
            crate::contract::Segment::Literal(text) => text.clone(),
            crate::contract::Segment::Parameter(at) => format!("{{{}}}", name(*at)),
        });
        let query = template.query.iter().map(|(key, at)| format!("&{key}={{{}}}", name(*at)));
        segments.chain(query).collect::<String>()
    };
    let whole = match &operation.answer {
        Answer::Whole(whole) => words(&whole.upstream),
        _ => String::new(),
    };
    format!("{} {whole}", words(&operation.upstream))
}
