//! The answer as plain text, for a terminal.

use std::fmt::Write as _;

use super::answer::{Answer, Enrolled, Speaks};
use super::checks::{Check, Outcome, printable};
use crate::certificate::facts::Facts;

/// Writes the whole answer.
pub(super) fn of(answer: &Answer<'_>) -> String {
    let mut text = String::new();
    let verdict = if answer.accepted { "accepted" } else { "NOT accepted" };
    line(&mut text, "verdict", verdict);
    line(&mut text, "gateway time", &answer.gateway_time.to_string());
    if let Some(skew) = answer.clock_skew_seconds {
        line(&mut text, "your clock", &format!("{skew:+} s"));
    }
    line(&mut text, "source", &answer.source);
    let connection = answer.connection;
    let alpn = printable(connection.alpn.as_deref().unwrap_or("no ALPN"));
    let agreed = format!("{}, {}, {}, {alpn}", connection.tls, connection.cipher_suite, connection.group);
    line(&mut text, "connection", &agreed);
    if let Some(own) = answer.certificate {
        text.push_str("certificate\n");
        certificate(&mut text, own);
    }
    for (at, sent) in answer.chain.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "sent behind it, {}", at + 1);
        match sent {
            Some(facts) => certificate(&mut text, facts),
            None => text.push_str("  cannot be read\n"),
        }
    }
    if let Some(enrolled) = &answer.system {
        system(&mut text, enrolled);
    }
    if let Some(speaks) = &answer.exchange {
        exchange(&mut text, speaks);
    }
    text.push_str("checks\n");
    checks(&mut text, &answer.checks);
    text
}

/// A certificate, indented.
pub(crate) fn certificate(text: &mut String, facts: &Facts) {
    let list = |items: &[String]| items.iter().map(|item| printable(item)).collect::<Vec<_>>().join(", ");
    let critical: Vec<String> = facts.critical.iter().map(ToString::to_string).collect();
    let usage: Vec<String> = facts.key_usage.iter().map(|usage| (*usage).to_owned()).collect();
    for (name, value) in [
        ("subject", printable(&facts.subject)),
        ("URIs", list(&facts.uris)),
        ("pin", facts.pin.clone()),
        ("key", facts.key.clone()),
        ("issuer", printable(&facts.issuer)),
        ("serial", printable(&facts.serial)),
        ("valid", format!("{} to {}", facts.not_before, facts.not_after)),
        ("key usage", list(&usage)),
        ("extended", list(&facts.extended_key_usage)),
        ("critical", list(&critical)),
    ] {
        if !value.is_empty() {
            line(text, &format!("  {name}"), &value);
        }
    }
}

/// The checks, indented; the remedy on a line of its own.
pub(crate) fn checks(text: &mut String, checks: &[Check]) {
    for check in checks {
        let outcome = match check.outcome {
            Outcome::Pass => "ok",
            Outcome::Fail => "FAIL",
            Outcome::Warn => "warn",
            Outcome::Unchecked => "-",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {outcome:<5}{:<13}{}", check.check, check.found);
        if !check.remedy.is_empty() {
            let _ = writeln!(text, "       {:<13}→ {}", "", check.remedy);
        }
    }
}

fn system(text: &mut String, enrolled: &Enrolled<'_>) {
    let names: Vec<_> = enrolled.agency_name.values().map(String::as_str).collect();
    line(text, "agency", &format!("{} ({})", enrolled.agency, names.join(" / ")));
    line(text, "system", enrolled.system);
    text.push_str("purposes\n");
    for purpose in &enrolled.purposes {
        let today = if purpose.valid_today { "valid today" } else { "NOT valid today" };
        let today = if purpose.suspended { "SUSPENDED" } else { today };
        let from = purpose.valid_from.map(|day| format!(", from {day}")).unwrap_or_default();
        let until = purpose.valid_until.map(|day| format!(", until {day}")).unwrap_or_default();
        let needs = if purpose.requires.is_empty() { "" } else { ", needs " };
        let today = purpose.lent_until.map_or_else(|| today.to_owned(), |until| format!("{today}, LENT until {until}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}: {today}{from}{until}{needs}{}", purpose.purpose, purpose.requires.join(", "));
    }
}

fn exchange(text: &mut String, speaks: &Speaks<'_>) {
    let names: Vec<_> = speaks.agency_name.values().map(String::as_str).collect();
    line(text, "agency", &format!("{} ({})", speaks.agency, names.join(" / ")));
    line(text, "exchange", speaks.exchange);
    line(text, "speaks for", &speaks.members.join(", "));
    text.push_str("clients\n");
    for (client, system) in &speaks.clients {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {client}: asks as {system}");
    }
    if speaks.clients.is_empty() {
        text.push_str("  none: no system of these members has an `xroad`\n");
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name:<14}{value}");
}
