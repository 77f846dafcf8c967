//! The population on a real PostgreSQL: the same answers, and errors that say what to do.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail by panicking too")]

use std::process::{Command, Output};

use popgate_demo::{
    client::{self, Credentials, Http},
    deployment::{Deployment, Options, SEEDED},
    postgres::Postgres,
    register::{Citizen, Number, Service, Source, database::Database, demo, population},
    scenario::read_path,
};
use serde_json::Value;
use tokio_postgres::NoTls;

#[path = "support/api.rs"]
mod api;
#[path = "support/served.rs"]
mod served;

use served::Register;

#[tokio::test]
async fn a_seeded_database_answers_as_the_synthetic_population_does() {
    let postgres = Postgres::start().unwrap();
    let database = postgres.seeded(SEEDED).unwrap();
    let everybody: Vec<Citizen> = population::seeded(SEEDED).filter_map(Citizen::of).collect();
    assert_eq!(database.citizens().await.unwrap(), everybody.len() as u64);
    let mut register = Register::start(Service::Population(Source::Database(database))).await;
    let numbers = || everybody.iter().step_by(401).map(|citizen| citizen.id);
    let mut client = register.client("h2").await;
    api::answers(&mut client, numbers(), Some(&everybody)).await;

    // Whom only the synthetic population has.
    let stranger = (0..).map(population::citizen).find(|number| everybody.iter().all(|citizen| citizen.id != *number));
    assert_eq!(client.person(stranger.unwrap(), &[]).await.status, 404);

    // Connections that the server ends are made again.
    execute(&postgres.url(), "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")
        .await;
    for number in numbers().take(8) {
        assert_eq!(client.person(number, &[]).await.body, Citizen::of(number).unwrap().to_json());
    }
    // A database that is seeded again while it is in use.
    let seeded = seed(&postgres.url(), &["--citizens", "2500", "--replace"]);
    assert!(seeded.status.success(), "{}", said(&seeded));
    assert_eq!(client.person(demo::HOA.number, &[]).await.status, 200);

    drop(postgres);
    let answer = client.person(demo::HOA.number, &[]).await;
    assert_eq!(answer.status, 503);
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("PostgreSQL at `") && !detail.contains(&demo::HOA.number.to_string()), "{detail}");
    assert!(register.faults.requests() > 0);
    drop((client, register.stop.take()));
    register.served.await.unwrap();
}

#[tokio::test]
async fn a_database_that_holds_something_is_not_seeded() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.url();
    let refused = |arguments: &[&str], told: &str| {
        let output = seed(&url, arguments);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(told), "{}", said(&output));
        assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
    };
    let seeded = seed(&url, &["--citizens", "3000"]);
    let told = said(&seeded);
    assert!(seeded.status.success() && told.contains(" citizens in ") && told.contains(" a second)"), "{told}");
    assert_eq!(citizens(&url).await, population::seeded(3000).count());

    refused(&["--citizens", "4000"], "citizens already: add `--replace` to replace them");
    assert_eq!(citizens(&url).await, population::seeded(3000).count());
    let replaced = seed(&url, &["--citizens", "2500", "--replace"]);
    assert!(replaced.status.success(), "{}", said(&replaced));
    assert_eq!(citizens(&url).await, population::seeded(2500).count());

    // What is not ours stays, whatever is asked.
    execute(&url, "drop table citizens; create table citizens (name text); insert into citizens values ('x')").await;
    refused(&["--citizens", "2500", "--replace"], "that this program did not make");
    assert_eq!(citizens(&url).await, 1);

    let few = seed(&url, &["--citizens", "10"]);
    assert!(!few.status.success() && said(&few).contains("2500"), "{}", said(&few));
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "the rate is for people: machines differ")]
async fn a_million_citizens_are_a_minutes_work() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.url();
    let told = said(&seed(&url, &["--citizens", "1000000"]));
    eprintln!("{told}");
    assert!(told.contains(" citizens in ") && told.contains(" a second)"), "{told}");
    let there = citizens(&url).await;
    // The rest of the last household is there too.
    assert!((1_000_000..1_000_100).contains(&there), "{there}");
    let mut register = Register::start(Service::Population(Source::Database(Database::new(&url).unwrap()))).await;
    let mut client = register.client("h2").await;
    for number in population::seeded(1_000_000).step_by(50_021) {
        assert_eq!(client.person(number, &[]).await.body, Citizen::of(number).unwrap().to_json());
    }
    drop((client, register.stop.take()));
    register.served.await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_said() {
    let mut postgres = Postgres::start().unwrap();
    let url = postgres.url();
    execute(&url, "create role clerk login password 'sesame'").await;
    let clerk = postgres.url_of("clerk");
    for (url, password, told) in [
        ("somewhere", None, "the database's URL: "),
        ("postgres://localhost/register", None, "it names no user"),
        ("postgres://register@localhost/register?sslmode=require", None, "asks for TLS"),
        ("postgres://register@127.0.0.1:1/register", None, "cannot connect to PostgreSQL at `127.0.0.1:1`"),
        (&*clerk, None, "it wants a password and got none; put the right password into PGPASSWORD"),
        (&*clerk, Some("poppy"), "refuses user `clerk`: the password is wrong"),
        (&*clerk, Some("sesame"), "has no citizens: run seed first"),
        (&*format!("{url}-elsewhere"), None, "has no database `postgres-elsewhere`: make it with `createdb"),
        (&*url, None, "has no citizens: run seed first, `cargo demo register seed --database URL"),
    ] {
        let output = serve(url, password);
        let said = said(&output);
        assert!(!output.status.success() && said.contains(told), "{url}: {said}");
        assert!(!said.contains("sesame") && !said.contains("poppy"), "a password is told: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // An empty table is as good as none.
    execute(&url, "create table citizens (id text)").await;
    assert!(!serve(&url, None).status.success());
    postgres.stop();
    assert!(said(&serve(&url, None)).contains("cannot connect to PostgreSQL at `"), "{}", said(&serve(&url, None)));
}

#[tokio::test]
async fn the_gateway_stands_on_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = Deployment::start(dir.path(), &Options { postgres: true, ..Options::default() }).unwrap();
    let hoa = demo::HOA.number;

    let tax = deployment.client("tax/etax").unwrap();
    let answer = tax.send(client::get(&read_path(hoa), None)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.code());
    assert_eq!((answer.json()["full_name"].as_str(), answer.json().get("religion")), (Some(demo::HOA.full_name), None));

    let pki = dir.path().join("pki");
    let read = |name: &str| std::fs::read(pki.join(name)).unwrap();
    let identity = [read("gateway-to-register.pem"), read("gateway-to-register.key")].concat();
    let own = Credentials { authorities: read("site.pem"), identity: Some(identity) };
    let gateway = client::Client::new(deployment.register.address, &own, Http::Two).unwrap();
    let search = "/persons?date_of_birth=1987-03-14&province_code=001&sort=full_name";
    let page = gateway.send(client::get(search, None)).await.unwrap();
    let expected: Vec<Number> = {
        let here = |citizen: &Citizen| {
            citizen.date_of_birth == demo::HOA.date_of_birth && citizen.permanent_residence.province_code == "001"
        };
        let mut found: Vec<_> = population::seeded(SEEDED).filter_map(Citizen::of).filter(here).collect();
        found.sort_by(|one, other| (&one.full_name, one.id).cmp(&(&other.full_name, other.id)));
        found.into_iter().map(|citizen| citizen.id).collect()
    };
    assert!(expected.contains(&hoa));
    let shown: Vec<Number> = page.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!((shown, page.json()["total"].as_u64()), (expected.clone(), Some(expected.len() as u64)));
    deployment.gateway.drain().await;
}

async fn citizens(url: &str) -> usize {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let count: i64 = client.query_one("select count(*) from citizens", &[]).await.unwrap().get(0);
    drop(client);
    connection.await.unwrap().unwrap();
    usize::try_from(count).unwrap()
}

async fn execute(url: &str, statements: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(statements).await.unwrap();
}

fn seed(url: &str, arguments: &[&str]) -> Output {
    demo(&["register", "seed", "--database", url]).args(arguments).output().unwrap()
}

/// Fails before it serves: there is no certificate.
fn serve(url: &str, password: Option<&str>) -> Output {
    let missing = ["--certificate", "none.pem", "--key", "none.key", "--client-ca", "none.pem"];
    let mut command = demo(&["register", "--listen", "127.0.0.1:0", "--database", url]);
    command.args(missing).envs(password.map(|password| ("PGPASSWORD", password))).output().unwrap()
}

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_popgate-demo"));
    command.args(arguments).env_remove("PGPASSWORD");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}
