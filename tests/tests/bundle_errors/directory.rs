//! Agencies and purposes that are wrong.

use popgate_policy::problem::Severity::{Error, Warning};

use super::Edit::{Remove, Replace, Write};
use super::{AGENCY, CONTRACT, PURPOSES, Row};

/// An error in the agency's file or in the purposes, for a text that stands there once.
const fn row(
    name: &'static str,
    (file, old, new): (&'static str, &'static str, &'static str),
    code: &'static str,
    line: &'static str,
    says: &'static [&'static str],
) -> Row {
    Row { name, edit: Replace(file, old, new), severity: Error, code, file, line, says }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = agencies();
    rows.extend(systems());
    rows.extend(exchanges());
    rows.extend(limits());
    rows.extend(purposes());
    rows
}

fn agencies() -> Vec<Row> {
    vec![
        row("not toml", (AGENCY, "\"central\"", "\"central"), "toml-syntax", "\"central", &["not toml"]),
        row(
            "an unknown key",
            (AGENCY, "sector   =", "sectr = \"x\"\nsector   ="),
            "unknown-key",
            "sectr",
            &["did you mean `sector`?"],
        ),
        row("no English name", (AGENCY, ", en = \"Tax Department\"", ""), "missing-name", "name     =", &["`en`"]),
        row("no sector", (AGENCY, "sector   = \"tax\"\n", ""), "missing-key", "name ", &["`sector`"]),
        row(
            "an unknown level",
            (AGENCY, "\"central\"", "\"centre\""),
            "unknown-level",
            "centre",
            &["did you mean `central`?"],
        ),
        row(
            "a province that does not say which",
            (AGENCY, "\"central\"", "\"province\""),
            "missing-province",
            "level",
            &["three digits"],
        ),
        row(
            "a central agency with a province",
            (AGENCY, "\"central\"", "\"central\"\nprovince = \"001\""),
            "stray-province",
            "province =",
            &["`level = \"province\"`"],
        ),
        row(
            "a province by another code",
            (AGENCY, "\"central\"", "\"province\"\nprovince = \"HN\""),
            "bad-province",
            "\"HN\"",
            &["three digits"],
        ),
        row(
            "an unknown purpose",
            (AGENCY, "[\"assessment\"]", "[\"assessment\", \"assesment\"]"),
            "unknown-purpose",
            "assesment",
            &["did you mean `assessment`?"],
        ),
        row(
            "a purpose twice",
            (AGENCY, "[\"assessment\"]", "[\"assessment\", \"assessment\"]"),
            "duplicate-purpose",
            "purposes",
            &["`assessment`"],
        ),
        row(
            "a text where a list belongs",
            (AGENCY, "[\"10.20.0.0/16\"]", "\"10.20.0.0/16\""),
            "wrong-type",
            "networks",
            &["a list, not a string"],
        ),
        Row {
            name: "a bad id",
            edit: Write("agencies/Tax_Office.toml", OTHER),
            severity: Error,
            code: "bad-name",
            file: "agencies/Tax_Office.toml",
            line: "",
            says: &["`Tax_Office`"],
        },
        Row {
            name: "an identity of two systems",
            edit: Write("agencies/zone.toml", TAKEN),
            severity: Error,
            code: "duplicate-identity",
            file: "agencies/zone.toml",
            line: "spiffe",
            says: &["`zone/one`", "`tax/etax`"],
        },
        Row {
            name: "an agency without systems",
            edit: Write("agencies/zone.toml", NO_SYSTEM),
            severity: Error,
            code: "no-system",
            file: "agencies/zone.toml",
            line: "",
            says: &["`[systems.<name>]`"],
        },
        Row {
            name: "no agencies",
            edit: Remove(AGENCY),
            severity: Error,
            code: "no-agency",
            file: "agencies",
            line: "",
            says: &["`agencies/<agency>.toml`"],
        },
        Row {
            name: "another file among the agencies",
            edit: Write("agencies/tax.yaml", ""),
            severity: Error,
            code: "unknown-file",
            file: "agencies/tax.yaml",
            line: "",
            says: &["is not an agency"],
        },
    ]
}

fn systems() -> Vec<Row> {
    vec![
        row(
            "an unknown key of a system",
            (AGENCY, "min_tls  =", "mintls ="),
            "unknown-key",
            "mintls",
            &["did you mean `min_tls`?"],
        ),
        row(
            "a system twice",
            (AGENCY, "[systems.etax]", "[systems.etax]\n[systems.etax]"),
            "toml-syntax",
            "",
            &["duplicate"],
        ),
        row(
            "no identity",
            (AGENCY, "identity = \"spiffe://gov.vn/tax/etax\"\n", ""),
            "missing-key",
            "[systems.etax]",
            &["`identity`"],
        ),
        row(
            "an identity of no form",
            (AGENCY, "\"spiffe://gov.vn/tax/etax\"", "\"etax\""),
            "bad-identity",
            "identity",
            &["spiffe://", "CN="],
        ),
        row("a short pin", (AGENCY, "\"spiffe://gov.vn/tax/etax\"", "\"pin:sha256:abc\""), "bad-pin", "pin:", &["64"]),
        row(
            "an address within a network",
            (AGENCY, "10.20.0.0/16", "10.20.3.0/16"),
            "bad-network",
            "10.20.3.0/16",
            &["did you mean `10.20.0.0/16`?"],
        ),
        row(
            "an address without a length",
            (AGENCY, "10.20.0.0/16", "10.20.0.1"),
            "bad-network",
            "10.20.0.1",
            &["did you mean `10.20.0.1/32`?"],
        ),
        row("a network that is none", (AGENCY, "10.20.0.0/16", "10.20/16"), "bad-network", "10.20/16", &["such as"]),
        row(
            "a purpose that the agency does not have",
            (AGENCY, "min_tls  =", "purposes = [\"assess\"]\nmin_tls  ="),
            "foreign-purpose",
            "assess\"]",
            &["not one of the agency's"],
        ),
        row("an unknown tls", (AGENCY, "\"1.3\"", "\"1.1\""), "bad-tls", "1.1", &["`1.2`"]),
    ]
}

fn limits() -> Vec<Row> {
    vec![
        row("a rate in words", (AGENCY, "200/s", "200/sec"), "bad-rate", "200/sec", &["did you mean `200/s`?"]),
        row("a rate without sense", (AGENCY, "200/s", "many"), "bad-rate", "many", &["`200/s`"]),
        row("a rate of nothing", (AGENCY, "200/s", "0/s"), "zero-rate", "0/s", &["nothing pass"]),
        row("a burst of nothing", (AGENCY, "burst = 400", "burst = 0"), "bad-number", "burst = 0", &["at least 1"]),
        row(
            "no limits",
            (
                AGENCY,
                "limits   = { rate = \"200/s\", burst = 400, operations = { \"citizen.verify\" = { rate = \"50/s\" } } }\n",
                "",
            ),
            "missing-key",
            "[systems.etax]",
            &["`limits`"],
        ),
        row(
            "a limit of an unknown operation",
            (AGENCY, "citizen.verify", "citizen.verfy"),
            "unknown-operation",
            "citizen.verfy",
            &["did you mean `citizen.verify`?"],
        ),
        row(
            "an unknown limit",
            (AGENCY, "burst = 400", "bursts = 400"),
            "unknown-key",
            "bursts",
            &["did you mean `burst`?"],
        ),
    ]
}

fn exchanges() -> Vec<Row> {
    let warning = |row: Row| Row { severity: Warning, ..row };
    vec![
        row(
            "an X-Road client that is none",
            (AGENCY, SYSTEM, "[systems.etax]\nxroad = \"VN/GOV\"\n"),
            "bad-xroad",
            "VN/GOV",
            &["`VN/GOV/TAX/ETAX`"],
        ),
        row(
            "an X-Road client that is percent-encoded",
            (AGENCY, SYSTEM, "[systems.etax]\nxroad = \"VN/GOV/TAX/E%20TAX\"\n"),
            "bad-xroad",
            "E%20TAX",
            &["such as"],
        ),
        row(
            "an X-Road client of two systems",
            (
                AGENCY,
                SYSTEM,
                "[exchanges.hub]\nidentity = \"spiffe://gov.vn/hub\"\nmembers = [\"VN/GOV/TAX\"]\n[systems.a]\n\
                 identity = \"spiffe://gov.vn/a\"\nxroad = \"VN/GOV/TAX/ETAX\"\nlimits = { rate = \"1/s\" }\n\
                 [systems.etax]\nxroad    = \"VN/GOV/TAX/ETAX\"\n",
            ),
            "duplicate-xroad",
            "xroad    =",
            &["already that of `tax/a`"],
        ),
        row(
            "a client instead of a member",
            (
                AGENCY,
                SYSTEM,
                "[exchanges.hub]\nidentity = \"spiffe://gov.vn/hub\"\nmembers = [\"VN/GOV/TAX/ETAX\"]\n[systems.etax]\n",
            ),
            "bad-xroad",
            "members",
            &["did you mean `VN/GOV/TAX`?"],
        ),
        row(
            "an exchange server for nobody",
            (AGENCY, SYSTEM, "[exchanges.hub]\nidentity = \"spiffe://gov.vn/hub\"\nmembers = []\n[systems.etax]\n"),
            "no-member",
            "members",
            &["at least one"],
        ),
        row(
            "an exchange server with the certificate of a system",
            (
                AGENCY,
                "[systems.etax]\nidentity = \"spiffe://gov.vn/tax/etax\"\n",
                "[exchanges.hub]\nidentity = \"spiffe://gov.vn/tax/etax\"\nmembers = [\"VN/GOV/TAX\"]\n[systems.etax]\n\
                 identity = \"spiffe://gov.vn/tax/etax\"\nxroad = \"VN/GOV/TAX/ETAX\"\n",
            ),
            "duplicate-identity",
            "spiffe",
            &["already that of `tax/etax`"],
        ),
        row(
            "an exchange server with the name of a system",
            (
                AGENCY,
                SYSTEM,
                "[exchanges.etax]\nidentity = \"spiffe://gov.vn/hub\"\nmembers = [\"VN/GOV/TAX\"]\n[systems.etax]\n\
                 xroad = \"VN/GOV/TAX/ETAX\"\n",
            ),
            "duplicate-name",
            "exchanges.etax",
            &["another name"],
        ),
        warning(row(
            "a client that nobody speaks for",
            (AGENCY, SYSTEM, "[systems.etax]\nxroad = \"VN/GOV/TAX/ETAX\"\n"),
            "unrepresented-client",
            "xroad",
            &["`VN/GOV/TAX`"],
        )),
        warning(row(
            "a member without a client",
            (
                AGENCY,
                SYSTEM,
                "[exchanges.hub]\nidentity = \"spiffe://gov.vn/hub\"\nmembers = [\"VN/GOV/TAX\", \"VN/GOV/TAXES\"]\n\
                 [systems.etax]\nxroad = \"VN/GOV/TAX/ETAX\"\n",
            ),
            "unused-member",
            "members",
            &["`VN/GOV/TAXES`"],
        )),
        Row {
            file: CONTRACT,
            ..row(
                "a base that no path begins with",
                (
                    CONTRACT,
                    REGISTER,
                    "x-gateway-register: population\nx-gateway-xroad: { service: VN/GOV/MPS/NPDB/p, base: /populaton }\n",
                ),
                "bad-xroad",
                "/populaton",
                &["did you mean `/population`?"],
            )
        },
        Row {
            file: CONTRACT,
            ..row(
                "a service without a subsystem",
                (
                    CONTRACT,
                    REGISTER,
                    "x-gateway-register: population\nx-gateway-xroad: { service: VN/GOV/MPS/p, base: /population }\n",
                ),
                "bad-xroad",
                "VN/GOV/MPS/p",
                &["`instance/class/member/subsystem/service`"],
            )
        },
    ]
}

const SYSTEM: &str = "[systems.etax]\n";
const REGISTER: &str = "x-gateway-register: population\n";

fn purposes() -> Vec<Row> {
    vec![
        row(
            "a purpose without a basis",
            (PURPOSES, "basis       = \"Law, art. 1\"\n", ""),
            "missing-key",
            "[assessment]",
            &["`basis`"],
        ),
        row(
            "a purpose with an empty basis",
            (PURPOSES, "\"Law, art. 1\"", "\" \""),
            "empty-basis",
            "basis",
            &["citizens see it"],
        ),
        row(
            "an unknown requirement",
            (PURPOSES, "[\"case\"]", "[\"cse\"]"),
            "unknown-requirement",
            "cse",
            &["did you mean `case`?"],
        ),
        row(
            "an end before the beginning",
            (PURPOSES, "2099-12-31", "2025-12-31"),
            "bad-validity",
            "valid_until",
            &["2025-12-31", "2026-01-01"],
        ),
        row(
            "a date in quotes",
            (PURPOSES, "2099-12-31", "\"2099-12-31\""),
            "wrong-type",
            "valid_until",
            &["without quotes"],
        ),
        row(
            "an unknown key of a purpose",
            (PURPOSES, "valid_until", "valid_till"),
            "unknown-key",
            "valid_till",
            &["did you mean `valid_until`?"],
        ),
        Row {
            name: "an agency enrolled for a purpose that is only lent",
            edit: Replace(PURPOSES, "valid_until", "break_glass = true\nvalid_until"),
            severity: Error,
            code: "break-glass-enrolled",
            file: AGENCY,
            line: "purposes",
            says: &["nobody may be enrolled", "`popgate break-glass draft`", "an ordinary purpose"],
        },
        row(
            "break-glass in quotes",
            (PURPOSES, "valid_until", "break_glass = \"yes\"\nvalid_until"),
            "wrong-type",
            "break_glass",
            &["`true` or `false` without quotes"],
        ),
        row("no Vietnamese name", (PURPOSES, "vi = \"Tính thuế\", ", ""), "missing-name", "name", &["`vi`"]),
        Row {
            name: "no purposes",
            edit: Remove(PURPOSES),
            severity: Error,
            code: "no-purposes",
            file: PURPOSES,
            line: "",
            says: &["`[assessment]`"],
        },
        Row {
            name: "a purpose that nobody has",
            edit: Replace(
                PURPOSES,
                "[assessment]",
                "[refund]\nname = { vi = \"a\", en = \"b\" }\nbasis = \"Law, art. 2\"\n[assessment]",
            ),
            severity: Warning,
            code: "unused-purpose",
            file: PURPOSES,
            line: "[refund]",
            says: &["no agency has"],
        },
    ]
}

const OTHER: &str = r#"name     = { vi = "Một", en = "One" }
sector   = "tax"
level    = "central"
purposes = ["assessment"]
[systems.one]
identity = "spiffe://gov.vn/zone/one"
limits   = { rate = "1/s" }
"#;

const TAKEN: &str = r#"name     = { vi = "Một", en = "One" }
sector   = "tax"
level    = "central"
purposes = ["assessment"]
[systems.one]
identity = "spiffe://gov.vn/tax/etax"
limits   = { rate = "1/s" }
"#;

const NO_SYSTEM: &str = r#"name     = { vi = "Một", en = "One" }
sector   = "tax"
level    = "central"
purposes = ["assessment"]
"#;
