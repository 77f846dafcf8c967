//! Promise: logs, metrics and refusals hold nothing about a person, whatever is asked, however wrongly, and whatever the register
//! does; and every request has its line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use popgate_demo::client::{Answer, Client, Credentials, Http, get, post};
use popgate_demo::deployment::{Options, Register, Site};
use popgate_demo::register::demo::{DECEASED, HOA, HUSBAND, Known, MINOR, RESIDENT_OF_079};
use popgate_demo::register::{Citizen, Fault, Number, population};
use popgate_demo::scenario::{LOOKUP, VERIFY, read_path};
use popgate_tests::node::Node;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use unicode_normalization::UnicodeNormalization as _;

/// What agencies claim is no business of the logs either.
const CLAIMED: [&str; 4] = ["CASE-kanari-1", "user-kanari-2", "assurance-kanari-3", "request-kanari-4"];

#[tokio::test]
#[expect(clippy::print_stdout, reason = "how much was searched is part of the proof")]
async fn nothing_about_a_person_is_logged_counted_or_told() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::make(dir.path()).unwrap();
    let register = Register::start(&site).unwrap();
    site.write_config(register.address, &Options::default()).unwrap();
    let node = Node::start(&site, &["--log", "trace"]);

    let mut told = Told::default();
    for http in [Http::One, Http::Two] {
        for person in [&HOA, &HUSBAND, &MINOR, &RESIDENT_OF_079, &DECEASED] {
            told.ask(&node, &site, http, asked_rightly(person)).await;
        }
        told.ask(&node, &site, http, asked_wrongly(&HOA)).await;
        misbehaving(&mut told, &node, &site, &register, http).await;
    }
    not_even_http(&node, &site).await;
    let last = told.one(&node.client(&site, "tax/etax", Http::One), lookup(&HOA, "assessment")).await;
    assert_eq!(last, Some(StatusCode::OK), "the node still answers");

    let operator = Credentials {
        authorities: fs::read(site.gateway_authority()).unwrap(),
        identity: Some(fs::read(site.dir().join("clients/operator-linh.pem")).unwrap()),
    };
    let operator = Client::new(node.admin, &operator, Http::One).unwrap();
    let mut metrics = String::new();
    for path in ["/metrics", "/bundle", "/readyz", "/livez"] {
        let answer = operator.send(get(path, None)).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        metrics.push_str(std::str::from_utf8(&answer.body).unwrap());
    }
    assert!(metrics.contains("popgate_requests_total"), "{metrics}");
    let (drained, lines) = node.terminate();
    assert!(drained);

    assert!(!lines.iter().any(|line| line.contains("panicked")), "{lines:#?}");
    assert_lines(&lines, &told);
    let needles = needles(&told.others);
    for form in ["lê thị hoa", "le thi hoa", "l%c3%aa%20th%e1%bb%8b%20hoa", "001187974118", "0912345678", "1987-03-14"]
    {
        assert!(needles.contains(form), "{form}");
    }
    assert_silent("the log", &lines.join("\n"), &needles);
    assert_silent("the metrics", &metrics, &needles);
    assert_silent("the refusals", &told.refusals, &needles);
    // The audit log names persons and claims under its key only.
    for entry in fs::read_dir(site.audit()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert_silent("the audit log", &String::from_utf8_lossy(&bytes), &needles);
    }
    println!("{} answers, {} log lines, searched for {} forms", told.answers.len(), lines.len(), needles.len());
}

/// What was answered, by request id.
#[derive(Default)]
struct Told {
    answers: BTreeMap<String, (StatusCode, String)>,
    /// Status, headers and bodies of everything that was not a disclosure.
    refusals: String,
    codes: BTreeSet<String>,
    /// Asked about, beside those whom tests know by heart.
    others: Vec<Number>,
}

impl Told {
    fn somebody(&mut self) -> Number {
        let number = population::citizen(self.others.len() as u64);
        self.others.push(number);
        number
    }

    async fn ask(&mut self, node: &Node, site: &Site, http: Http, requests: Vec<(&str, Request<Full<Bytes>>)>) {
        for (system, request) in requests {
            self.one(&node.client(site, system, http), request).await;
        }
    }

    /// The status, if there was an answer: some of the requests are such that the connection is closed.
    async fn one(&mut self, client: &Client, request: Request<Full<Bytes>>) -> Option<StatusCode> {
        let answer: Answer = client.send(request).await.ok()?;
        if answer.status != StatusCode::OK {
            let _ = writeln!(
                self.refusals,
                "{} {:?} {}",
                answer.status,
                answer.headers,
                String::from_utf8_lossy(&answer.body)
            );
            self.codes.insert(answer.code());
        }
        if let Some(id) = answer.headers.get("gateway-request-id") {
            let code = if answer.status == StatusCode::OK { "ok".to_owned() } else { answer.code() };
            self.answers.insert(id.to_str().unwrap().to_owned(), (answer.status, code));
        }
        Some(answer.status)
    }
}

fn keys(person: &Known) -> Value {
    json!({
        "id": person.number.to_string(),
        "full_name": person.full_name,
        "date_of_birth": person.date_of_birth.to_string(),
    })
}

fn lookup(person: &Known, purpose: &str) -> Request<Full<Bytes>> {
    let mut request = post(LOOKUP, Some(purpose), &keys(person));
    for (name, value) in ["gateway-case", "gateway-user", "gateway-assurance", "x-request-id"].into_iter().zip(CLAIMED)
    {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// Every operation, and every refusal of a request that is in form.
fn asked_rightly(person: &Known) -> Vec<(&'static str, Request<Full<Bytes>>)> {
    let path = read_path(person.number);
    let mut claims = keys(person);
    claims["phone"] = json!(person.phone.unwrap_or("0900000000"));
    let mut wrong = keys(person);
    wrong["date_of_birth"] = json!("1901-02-03");
    let mut head = get(&path, Some("assessment"));
    *head.method_mut() = Method::HEAD;
    vec![
        ("tax/etax", lookup(person, "assessment")),
        ("tax/etax", get(&path, Some("assessment"))),
        ("tax/etax", head),
        ("telecom-a/crm", lookup(person, "subscriber-verification")),
        ("hospital-north/his", lookup(person, "treatment")),
        ("bank-a/ekyc", post(VERIFY, Some("e-kyc"), &claims)),
        ("ha-noi/portal", lookup(person, "residence-management")),
        ("tax/etax", post(LOOKUP, Some("assessment"), &wrong)),
        ("ha-noi/portal", post(LOOKUP, None, &keys(person))),
        ("tax/inspection", lookup(person, "data-cleaning-2025")),
        ("tax/etax", lookup(person, "treatment")),
        ("telecom-a/crm", get(&path, Some("subscriber-verification"))),
        ("nobody/nothing", lookup(person, "assessment")),
    ]
}

/// Personal data where it does not belong.
fn asked_wrongly(person: &Known) -> Vec<(&'static str, Request<Full<Bytes>>)> {
    let number = person.number.to_string();
    let (name, phone) = (encoded(person.full_name), person.phone.unwrap());
    let path = read_path(person.number);
    let mut requests = Vec::new();
    for target in [
        format!("/{number}"),
        format!("{path}/{name}"),
        format!("{path}/"),
        format!("/population/v1/citizens/{name}"),
        format!("/population/v1/citizens/{number}{phone}"),
        format!("/population/v1/citizens/%30{number}"),
        format!("{path}?full_name={name}"),
        format!("{path}?{phone}={name}"),
        format!("{path}?{number}"),
        format!("{path}?a=%zz{number}"),
        format!("{LOOKUP}/{number}?phone={phone}"),
        format!("/{}", phone.repeat(300)),
    ] {
        requests.push(get(&target, Some("assessment")));
    }
    for (field, value) in [
        ("gateway-purpose", number.as_str()),
        ("gateway-user", person.full_name),
        ("gateway-user", &number),
        ("gateway-case", &format!("{phone} {number}")),
        ("gateway-assurance", &phone.repeat(20)),
        ("gateway-subject", &number),
        (&format!("gateway-{number}"), "1"),
        (&format!("x_{number}"), "1"),
        (&format!("x-{number}"), phone),
        ("x-request-id", &number),
        ("cookie", &format!("person={number}")),
        ("user-agent", &format!("client of {number}")),
        ("referer", &format!("https://agency.example/{number}?{name}")),
        ("upgrade", &number),
        ("content-encoding", &number),
        ("content-type", &format!("application/json; person={number}")),
        ("transfer-encoding", &number),
        ("authorization", &format!("Basic {number}")),
    ] {
        let mut request = post(LOOKUP, Some("assessment"), &keys(person));
        request
            .headers_mut()
            .insert(HeaderName::try_from(field).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        requests.push(request);
    }
    for body in [
        format!("{{\"{number}\":\"{phone}\"}}"),
        format!("{{\"id\":\"{number}\",\"{}\":1}}", person.full_name),
        format!("{{\"id\":\"{number}\",\"id\":\"{number}\"}}"),
        format!("{{\"id\":{number}}}"),
        format!("{{\"id\":\"{number}\",\"full_name\":[\"{}\"]}}", person.full_name),
        format!(
            "{{\"id\":\"{number} {phone}\",\"full_name\":\"{}\",\"date_of_birth\":\"1987-03-14\"}}",
            person.full_name
        ),
        format!("{{\"id\":\"{number}\",\"full_name\":\"{}\",\"date_of_birth\":\"{phone}\"}}", person.full_name),
        format!("{{\"id\":\"{number}\",\"full_name\":\"{}\"", person.full_name),
        format!("\"{}\"", person.full_name),
        format!("{number} {}", person.full_name),
        format!("{{\"id\":\"{number}\",\"full_name\":\"{}\"}}", person.full_name.repeat(100)),
        format!("[\"{phone}\"]").repeat(20_000),
    ] {
        let mut request = post(LOOKUP, Some("assessment"), &Value::Null);
        *request.body_mut() = Full::new(Bytes::from(body));
        requests.push(request);
    }
    for (field, value) in [(header::CONTENT_TYPE, "text/plain"), (header::ACCEPT, phone)] {
        let mut request = post(LOOKUP, Some("assessment"), &keys(person));
        request.headers_mut().insert(field, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        requests.push(request);
    }
    for method in [Method::DELETE, Method::OPTIONS, Method::from_bytes(number.as_bytes()).unwrap()] {
        let mut request = get(&path, Some("assessment"));
        *request.method_mut() = method;
        requests.push(request);
    }
    requests.into_iter().map(|request| ("tax/etax", request)).collect()
}

/// A register that fails in every way, with records in what it says. Each time about somebody whom no cache knows.
async fn misbehaving(told: &mut Told, node: &Node, site: &Site, register: &Register, http: Http) {
    let client = node.client(site, "tax/etax", http);
    for which in 0.. {
        let person = Citizen::of(told.somebody()).unwrap();
        let Some(fault) = fault(which, &person) else { break };
        register.faults.set(person.id, fault);
        told.one(&client, get(&read_path(person.id), Some("assessment"))).await;
        told.one(&client, get(&read_path(person.id), Some("assessment"))).await;
    }
    register.faults.clear();
    let (one, other) = (told.somebody(), told.somebody());
    register.faults.swap(one, other);
    for number in [one, other] {
        told.one(&client, get(&read_path(number), Some("assessment"))).await;
    }
    register.faults.clear();
}

fn fault(which: usize, person: &Citizen) -> Option<Fault> {
    let record = Bytes::from(person.to_json());
    let broken = Bytes::from([&record[..record.len() - 1], b",\"full_name\":\"again\"}"].concat());
    let named = |name: &'static str| {
        let value = format!("https://register.example/persons/{}?{}", person.id, encoded(&person.full_name));
        (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap())
    };
    let fault = match which {
        0 => Fault { status: Some(StatusCode::INTERNAL_SERVER_ERROR), body: Some(record), ..Fault::default() },
        1 => Fault { status: Some(StatusCode::SERVICE_UNAVAILABLE), ..Fault::default() },
        2 => Fault { status: Some(StatusCode::FOUND), headers: vec![named("location")], ..Fault::default() },
        3 => Fault { headers: vec![named("x-person"), named("content-encoding")], ..Fault::default() },
        4 => Fault { body: Some(broken), ..Fault::default() },
        5 => Fault { body: Some(record.slice(..record.len() / 2)), ..Fault::default() },
        6 => Fault { body: Some(Bytes::from(record.repeat(60))), ..Fault::default() },
        7 => Fault { body: Some(Bytes::from(record.repeat(2000))), ..Fault::default() },
        8 => Fault { cut_after: Some(record.len() / 2), ..Fault::default() },
        9 => Fault { cut_after: Some(0), ..Fault::default() },
        10 => Fault { delay_head: Some(Duration::from_secs(4)), ..Fault::default() },
        _ => return None,
    };
    Some(fault)
}

/// Bytes that no HTTP library sends.
async fn not_even_http(node: &Node, site: &Site) {
    let number = HOA.number;
    for bytes in [
        format!("GET /{number} HTTP/9.9\r\nhost: localhost\r\n\r\n"),
        format!("{}\r\n\r\n", HOA.full_name),
        format!("GET /{} HTTP/1.1\r\nhost: {number}\r\n{number}\r\n\r\n", HOA.full_name),
        format!("POST {LOOKUP} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {number}x\r\n\r\n"),
        format!(
            "POST {LOOKUP} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{number}\r\n{}",
            HOA.full_name
        ),
    ] {
        for http in [Http::One, Http::Two] {
            let mut tls = node.client(site, "tax/etax", http).connect_tls().await.unwrap();
            let _ = tls.write_all(bytes.as_bytes()).await;
            let _ = tls.shutdown().await;
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(5), tls.read_to_end(&mut answer)).await;
        }
    }
}

/// Each answer has one line, with the fields that an operator relies on.
fn assert_lines(lines: &[String], told: &Told) {
    let mut requests: BTreeMap<String, Value> = BTreeMap::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if line["target"] == "popgate::request" {
            let id = line["request_id"].as_str().unwrap().to_owned();
            assert!(requests.insert(id, line).is_none(), "two lines for one request");
        }
    }
    assert!(told.answers.len() > 150, "{}", told.answers.len());
    let mut disclosed = 0;
    for (id, (status, code)) in &told.answers {
        let line = requests.get(id).unwrap_or_else(|| panic!("{status} {code} {id} has no line"));
        assert_eq!(line["status"], status.as_u16(), "{line}");
        // A HEAD has no document to read the code from.
        assert!(line["code"] == code.as_str() || code.is_empty(), "{line}");
        assert!(line["duration_us"].as_u64().is_some_and(|took| took > 0), "{line}");
        assert!(["http/1.1", "h2"].contains(&line["protocol"].as_str().unwrap()), "{line}");
        if code == "ok" {
            disclosed += 1;
            for field in ["agency", "system", "operation", "purpose", "cache"] {
                assert!(line[field].is_string(), "{field}: {line}");
            }
        }
    }
    assert!(disclosed > 20, "{disclosed}");
    for code in [
        "purpose_missing",
        "purpose_expired",
        "purpose_unknown",
        "purpose_not_enrolled",
        "parameter_invalid",
        "no_match",
        "header_invalid",
        "operation_unknown",
        "method_not_allowed",
        "request_malformed",
        "media_type_unsupported",
        "body_too_large",
        "system_not_enrolled",
        "subject_mismatch",
        "register_failed",
        "register_timeout",
        "record_unreadable",
        "record_too_large",
        "register_unavailable",
    ] {
        assert!(told.codes.contains(code), "{code} was not among {:?}", told.codes);
    }
}

/// Every leaf of the records of whom was asked about, in every form in which it might slip out.
///
/// Left out are values shorter than four characters (`001`, `O`, `2`): they stand in any text. And three words of the contract
/// itself, which are not about anybody: `head`, `child`, `spouse`.
fn needles(others: &[Number]) -> BTreeSet<String> {
    let mut leaves = BTreeSet::new();
    let known = [HOA, HUSBAND, MINOR, RESIDENT_OF_079, DECEASED].map(|person| person.number);
    for number in known.iter().chain(others) {
        collect(&serde_json::to_value(Citizen::of(*number).unwrap()).unwrap(), &mut leaves);
    }
    leaves.retain(|leaf| leaf.chars().count() >= 4 && !["head", "child", "spouse"].contains(&leaf.as_str()));
    leaves.extend(CLAIMED.map(str::to_owned));
    let mut forms = BTreeSet::new();
    for leaf in leaves {
        let decomposed: String = leaf.nfd().collect();
        let folded: String = decomposed.chars().filter(|letter| !('\u{300}'..='\u{36f}').contains(letter)).collect();
        for form in [leaf.clone(), decomposed, folded.replace('đ', "d").replace('Đ', "D")] {
            let escaped: String = form
                .chars()
                .map(
                    |letter| {
                        if letter.is_ascii() { letter.to_string() } else { format!("\\u{:04x}", u32::from(letter)) }
                    },
                )
                .collect();
            for form in [form.clone(), encoded(&form), encoded(&form).replace("%20", "+"), escaped] {
                forms.insert(form.to_lowercase());
            }
        }
    }
    forms
}

fn collect(value: &Value, leaves: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.values().for_each(|member| collect(member, leaves)),
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, leaves)),
        Value::String(text) => drop(leaves.insert(text.clone())),
        Value::Number(number) => drop(leaves.insert(number.to_string())),
        Value::Bool(_) | Value::Null => {}
    }
}

/// The needles are in lower case, and so is what is searched: upper case and `%C3` are found alike.
fn assert_silent(what: &str, text: &str, needles: &BTreeSet<String>) {
    let hay = text.to_lowercase();
    let found: Vec<_> = needles
        .iter()
        .filter_map(|needle| {
            let at = hay.find(needle)?;
            let line = hay[..at].rfind('\n').map_or(0, |end| end + 1);
            Some(format!("`{needle}` in {:.400}", &hay[line..]))
        })
        .collect();
    assert!(found.is_empty(), "{what} tells of a person: {found:#?}");
}

/// Percent-encoded, all but what RFC 3986 leaves as it is.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}
