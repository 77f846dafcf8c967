//! A place where every proxy stands before the same register, with the same certificates.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use crate::Failure;
use crate::faulty::Files;
use crate::peers::Place;
use crate::site::{Gateway, Options, Site, System, agency_id};

/// The site, and where everybody listens.
#[derive(Debug)]
pub struct Stand {
    /// Certificates, bundle, and popgate's configuration.
    pub site: Site,
    endpoints: Vec<u16>,
    listen: u16,
}

impl Stand {
    /// Makes the site: popgate with its defaults before four endpoints, and one system without limits that asks.
    /// `population` is said beside the endpoints in the register's section.
    ///
    /// # Errors
    /// If a file cannot be read or written, or there are no free ports.
    pub fn make(bundle: &Path, population: &str) -> Result<Self, Failure> {
        let mut ports = free_ports(ENDPOINTS + 1)?;
        let listen = ports.pop().unwrap_or_default();
        let site = Site::make(&Options {
            bundle: bundle.to_owned(),
            agencies: 1,
            systems: vec![System::unlimited(SYSTEM)],
            registers: ports.clone(),
            cores: THREADS,
            population: population.to_owned(),
            settings: String::new(),
        })?;
        Ok(Self { site, endpoints: ports, listen })
    }

    /// The register's ports.
    pub fn endpoints(&self) -> &[u16] {
        &self.endpoints
    }

    /// The place of a proxy of somebody else.
    pub fn place(&self) -> Place {
        Place {
            listen: self.listen,
            endpoints: self.endpoints.clone(),
            certificate: self.site.pem("gateway.pem"),
            key: self.site.pem("gateway.key"),
            client_ca: self.site.pem("agencies.pem"),
            back_certificate: self.site.pem("client.pem"),
            back_key: self.site.pem("client.key"),
            register_ca: self.site.pem("site.pem"),
            threads: THREADS,
        }
    }

    /// The certificate of the system that asks.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn client(&self) -> Result<Arc<ClientConfig>, Failure> {
        self.site.client(&format!("{}/{SYSTEM}", agency_id(0)))
    }

    /// Starts popgate with an empty audit log, on all processors.
    ///
    /// # Errors
    /// If it does not serve.
    pub fn popgate(&self, program: &Path) -> Result<Gateway, Failure> {
        for folder in ["audit", "state"] {
            // The second is not there at first.
            let _ = fs::remove_dir_all(self.site.path(folder));
        }
        fs::create_dir_all(self.site.path("audit"))?;
        self.site.start(program, None, "warn")
    }
}

/// The register's files, in the folder of a site's certificates.
pub fn register_files(pki: &Path) -> Files {
    let file = |name: &str| pki.join(name);
    Files { certificate: file("register.pem"), key: file("register.key"), client_ca: file("site.pem") }
}

/// The n-th person's number.
pub fn person(n: u64) -> String {
    format!("00118{:07}", n % 10_000_000)
}

/// A whole record by the reference contract; name and birthday differ by person.
pub fn record(number: &str) -> String {
    let digits: u32 = number.get(5..).and_then(|digits| digits.parse().ok()).unwrap_or_default();
    let birthday = format!("1987-{:02}-{:02}", digits / 28 % 12 + 1, digits % 28 + 1);
    RECORD.replace("NUMBER", number).replace("NAME", &format!("Lê Thị Thử {digits}")).replace("BIRTHDAY", &birthday)
}

/// Whether an answer is whole, and about that person: what a client can tell.
pub fn is_right(number: &str, body: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return false };
    let Ok(whole) = serde_json::from_str::<Value>(&record(number)) else { return false };
    ["id", "full_name", "date_of_birth"].iter().all(|field| answer.get(*field) == whole.get(*field))
}

/// Ports that nobody listens on, below those from which the kernel takes clients' ports: an endpoint that is killed must
/// find its own free again.
fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    let first = 20_000 + u16::try_from(std::process::id() % 100)? * 100;
    let free: Vec<u16> =
        (first..first + 100).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect();
    if free.len() == count { Ok(free) } else { Err("no free ports below 30000".into()) }
}

/// Of each proxy.
pub const THREADS: usize = 2;
const ENDPOINTS: usize = 4;
const SYSTEM: &str = "etax";
const RECORD: &str = r#"{"id":"NUMBER","old_id":"012345678","full_name":"NAME","other_names":[],"date_of_birth":"BIRTHDAY","sex":"female","place_of_birth":"Hà Nội","birth_registration_place":"Hà Nội","home_town":"Hà Nội","ethnicity":"Kinh","religion":null,"nationality":"VNM","blood_type":"O+","marital_status":"married","permanent_residence":{"province":"Hà Nội","province_code":"001","ward":"Ba Đình","address":"Số 1, phố Thử"},"temporary_residence":null,"current_residence":{"province":"Hà Nội","ward":"Ba Đình","address":"Số 1, phố Thử"},"declared_absence":null,"father":{"id":"001055000001","full_name":"Lê Văn Thử"},"mother":{"id":"001157000001","full_name":"Trần Thị Thử"},"spouse":null,"children_ids":[],"legal_representative":null,"household":{"id":"HH-001-000001","head_id":"001055000001","relation_to_head":"child"},"date_of_death":null,"phone":"0900000000","email":null,"eid_level":2}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_right_if_it_is_whole_and_about_that_person() {
        let record = record(&person(7));
        assert!(is_right(&person(7), record.as_bytes()));
        assert!(!is_right(&person(8), record.as_bytes()));
        assert!(!is_right(&person(7), &record.as_bytes()[..record.len() / 2]));
        assert_eq!(person(7).len(), 12);
    }
}
