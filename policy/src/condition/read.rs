//! Reading a condition from Cedar's JSON form.

use std::sync::Arc;

use cedar_policy::EntityUid;
use serde_json::Value as Json;

use super::{AddressTest, Circumstance, Expr, Left, Operator, Pattern, Value};

impl Expr {
    /// Every `when` and `unless` of a policy, in their order.
    pub(crate) fn read(conditions: &Json) -> Self {
        let Some(conditions) = conditions.as_array() else { return Self::Cedar(Left::everything(conditions.clone())) };
        let each = conditions.iter().map(|condition| {
            let body = condition.get("body").map_or(Self::Fails, truth);
            if condition.get("kind").and_then(Json::as_str) == Some("unless") {
                Self::Not(Box::new(body))
            } else {
                body
            }
        });
        each.reduce(|all, next| Self::And(Box::new([all, next]))).unwrap_or(Self::TRUE)
    }
}

/// An expression that is true or false: if it has no form here, it is left to Cedar.
fn truth(json: &Json) -> Expr {
    let read = match only(json) {
        Some(("!", body)) => body.get("arg").map(|arg| Expr::Not(Box::new(truth(arg)))),
        Some(("&&", body)) => pair(body, |part| Some(truth(part))).map(Expr::And),
        Some(("||", body)) => pair(body, |part| Some(truth(part))).map(Expr::Or),
        Some(("if-then-else", body)) => branches(body, |part| Some(truth(part))),
        _ => value(json),
    };
    read.unwrap_or_else(|| Expr::Cedar(Left::of(json.clone())))
}

/// Any expression; `None` if it has no form here.
fn value(json: &Json) -> Option<Expr> {
    let (name, body) = only(json)?;
    let boxed = |json: Option<&Json>| value(json?).map(Box::new);
    let arg = || boxed(body.get("arg"));
    let left = || boxed(body.get("left"));
    if let Some(operator) = operator(name) {
        let parts = pair(body, value)?;
        if matches!(operator, Operator::In | Operator::ContainsAll | Operator::ContainsAny) {
            known(&*parts)?;
        }
        return Some(Expr::Both(operator, parts));
    }
    Some(match name {
        "Value" => Expr::Is(literal(body)?),
        "Var" => match body.as_str()? {
            "principal" => Expr::Principal,
            "action" => Expr::Action,
            "resource" => Expr::Resource,
            _ => return None,
        },
        "!" => Expr::Not(arg()?),
        "neg" => Expr::Negative(arg()?),
        "&&" => Expr::And(pair(body, |part| Some(truth(part)))?),
        "||" => Expr::Or(pair(body, |part| Some(truth(part)))?),
        "if-then-else" => branches(body, value)?,
        "." => accessed(body)?,
        "has" => {
            let name = body.get("attr")?.as_str()?;
            match of_context(body.get("left")?) {
                Some("env") if name == "claimed_assurance" => Expr::IsAssured,
                Some("env") if Circumstance::named(name).is_some() => Expr::TRUE,
                Some(_) => return None,
                None => Expr::Has(known_one(left()?)?, name.into()),
            }
        }
        "like" => {
            let part = |part: &Json| match part.get("Literal").and_then(Json::as_str) {
                Some(text) => Some(Some(text.to_owned())),
                None => (part.as_str() == Some("Wildcard")).then_some(None),
            };
            let parts = body.get("pattern")?.as_array()?.iter().map(part).collect::<Option<Vec<_>>>()?;
            Expr::Like(left()?, Pattern::new(parts.into_iter()))
        }
        "is" => {
            let kind: Arc<str> = body.get("entity_type")?.as_str()?.into();
            let is = Expr::IsA(known_one(left()?)?, kind);
            match body.get("in") {
                None => is,
                Some(within) => {
                    let parts = [*left()?, value(within)?];
                    known(&parts)?;
                    Expr::And(Box::new([is, Expr::Both(Operator::In, Box::new(parts))]))
                }
            }
        }
        "Set" => {
            let members = body.as_array()?.iter().map(value).collect::<Option<Box<[Expr]>>>()?;
            known(&members)?;
            Expr::Set(members)
        }
        "isEmpty" => Expr::IsEmpty(known_one(arg()?)?),
        _ => called(name, body.as_array()?)?,
    })
}

/// An attribute of the context, or of an entity.
fn accessed(body: &Json) -> Option<Expr> {
    let (left, name) = (body.get("left")?, body.get("attr")?.as_str()?);
    match of_context(left) {
        Some("env") => Circumstance::named(name).map(Expr::Env),
        Some("record") => Some(Expr::Named(name.into())),
        Some(_) => None,
        None if is_context(left) => (name == "purpose").then_some(Expr::Purpose),
        None => Some(Expr::Attribute(known_one(Box::new(value(left)?))?, name.into())),
    }
}

/// A function or a method of an extension.
fn called(name: &str, args: &[Json]) -> Option<Expr> {
    let text = || args.first()?.get("Value")?.as_str();
    let test = |test| Some(Expr::Address(test, Box::new(value(args.first()?)?)));
    let both = |operator| match args {
        [left, right] => Some(Expr::Both(operator, Box::new([value(left)?, value(right)?]))),
        _ => None,
    };
    match name {
        "ip" => Value::address(text()?).map(Expr::Is),
        "decimal" => Value::decimal(text()?).map(Expr::Is),
        "datetime" => Value::day(text()?).map(Expr::Is),
        "isInRange" => both(Operator::InRange),
        "lessThan" => both(Operator::DecimalLess),
        "lessThanOrEqual" => both(Operator::DecimalLessOrEqual),
        "greaterThan" => both(Operator::DecimalGreater),
        "greaterThanOrEqual" => both(Operator::DecimalGreaterOrEqual),
        "isIpv4" => test(AddressTest::V4),
        "isIpv6" => test(AddressTest::V6),
        "isLoopback" => test(AddressTest::Loopback),
        "isMulticast" => test(AddressTest::Multicast),
        _ => None,
    }
}

/// Entities and sets have a form here only where they are known before the request.
fn known(parts: &[Expr]) -> Option<()> {
    parts.iter().all(|part| part.phase().is_none()).then_some(())
}

fn known_one(part: Box<Expr>) -> Option<Box<Expr>> {
    known(std::slice::from_ref(&*part))?;
    Some(part)
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "==" => Operator::Equal,
        "!=" => Operator::Differ,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        "+" => Operator::Plus,
        "-" => Operator::Minus,
        "*" => Operator::Times,
        "in" => Operator::In,
        "contains" => Operator::Contains,
        "containsAll" => Operator::ContainsAll,
        "containsAny" => Operator::ContainsAny,
        _ => return None,
    })
}

fn literal(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Bool(truth) => Value::Truth(*truth),
        Json::Number(number) => Value::Long(number.as_i64()?),
        Json::String(text) => Value::Text(text.as_str().into()),
        Json::Array(members) => Value::Set(members.iter().map(literal).collect::<Option<_>>()?),
        Json::Object(members) => Value::Entity(EntityUid::from_json(members.get("__entity")?.clone()).ok()?),
        Json::Null => return None,
    })
}

fn pair(body: &Json, read: impl Fn(&Json) -> Option<Expr>) -> Option<Box<[Expr; 2]>> {
    Some(Box::new([read(body.get("left")?)?, read(body.get("right")?)?]))
}

fn branches(body: &Json, read: impl Fn(&Json) -> Option<Expr>) -> Option<Expr> {
    Some(Expr::If(Box::new([truth(body.get("if")?), read(body.get("then")?)?, read(body.get("else")?)?])))
}

/// The one member of an expression.
fn only(json: &Json) -> Option<(&str, &Json)> {
    let mut members = json.as_object()?.iter();
    members.next().filter(|_| members.next().is_none()).map(|(name, body)| (name.as_str(), body))
}

/// The member of the context that an expression is.
fn of_context(json: &Json) -> Option<&str> {
    let access = json.get(".")?;
    is_context(access.get("left")?).then(|| access.get("attr")?.as_str()).flatten()
}

fn is_context(json: &Json) -> bool {
    json.get("Var").and_then(Json::as_str) == Some("context")
}
