//! Deployments that differ from the reference: other files, other settings, another hour.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use popgate::app::bundle_files;
use popgate::app::config::Config;
use popgate::pki::Issued;
use popgate_demo::client::{Client, Credentials, Http, get};
use popgate_demo::deployment::{Deployment, DeploymentError, Options, Others, Register, Site};

use crate::{Harness, eventually};

impl Harness {
    /// A deployment whose files `site` may change before the gateway reads them, and whose configuration `config` may.
    ///
    /// # Panics
    /// If it does not start.
    #[expect(clippy::panic, reason = "a harness that does not start ends the test")]
    pub fn start_made(settings: &str, site: impl FnOnce(&Site), config: impl FnOnce(&mut Config)) -> Self {
        let dir = match tempfile::tempdir() {
            Ok(dir) => dir,
            Err(error) => panic!("no folder for the deployment: {error}"),
        };
        let options = Options { settings: crate::unhurried(settings), ..Options::default() };
        match made(dir.path(), &options, site, config) {
            Ok(deployment) => Self { deployment, dir: Some(dir) },
            Err(error) => panic!("the deployment does not start: {error}"),
        }
    }

    /// What a client needs to connect with a certificate of its own.
    ///
    /// # Panics
    /// If the gateway's authority cannot be read.
    #[expect(clippy::panic, reason = "without credentials the test cannot go on")]
    pub fn credentials(&self, issued: &Issued) -> Credentials {
        match fs::read(self.deployment.site.gateway_authority()) {
            Ok(authorities) => Credentials {
                authorities,
                identity: Some(format!("{}{}", issued.certificate, issued.key).into_bytes()),
            },
            Err(error) => panic!("the gateway's authority: {error}"),
        }
    }

    /// Writes a file of the bundle, and waits until the bundle with it is in force.
    ///
    /// # Panics
    /// If it cannot be written, or is not put in force.
    pub async fn reload(&self, file: &str, text: &str) {
        let node = self.deployment.gateway.node();
        let before = node.live().bundle.digest();
        write(&self.deployment.site, file, text);
        eventually("the new bundle is in force", || node.live().bundle.digest() != before).await;
    }

    /// The value of a metric without labels, as an operator scrapes it.
    ///
    /// # Panics
    /// If the admin listener does not answer with it.
    #[expect(clippy::panic, reason = "without its metric the test cannot go on")]
    pub async fn metric(&self, name: &str) -> u64 {
        let scraped = match self.operator().map(|client| async move { client.send(get("/metrics", None)).await }) {
            Ok(answer) => answer.await.map(|answer| String::from_utf8_lossy(&answer.body).into_owned()),
            Err(error) => panic!("no operator's client: {error}"),
        };
        let text = scraped.unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no metric `{name}`"))
    }

    fn operator(&self) -> Result<Client, DeploymentError> {
        let site = &self.deployment.site;
        let read = |file: &Path| {
            fs::read(file).map_err(|source| DeploymentError::Io { what: file.display().to_string(), source })
        };
        let credentials = Credentials {
            authorities: read(&site.gateway_authority())?,
            identity: Some(read(&site.dir().join("clients/operator-linh.pem"))?),
        };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = self.deployment.gateway.admin().unwrap_or(nowhere);
        Ok(Client::new(address, &credentials, Http::One)?)
    }
}

/// Writes a file of the site's bundle.
///
/// # Panics
/// If it cannot be written.
#[expect(clippy::panic, reason = "a test without its files cannot go on")]
pub fn write(site: &Site, file: &str, text: &str) {
    if let Err(error) = fs::write(site.bundle().join(file), text) {
        panic!("{file}: {error}");
    }
}

/// Writes a candidate bundle into a folder of the site's: its bundle, with the files for which `edit` has another text.
///
/// # Panics
/// If it cannot be written.
#[expect(clippy::panic, reason = "a test without its files cannot go on")]
pub fn candidate(site: &Site, folder: &str, edit: impl Fn(&str, &str) -> Option<String>) -> PathBuf {
    let dir = site.dir().join(folder);
    let written = bundle_files::read(&site.bundle()).and_then(|source| {
        source.files.iter().try_for_each(|(file, text)| {
            let path = dir.join(file);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, edit(file, text).unwrap_or_else(|| text.clone()))
        })
    });
    match written {
        Ok(()) => dir,
        Err(error) => panic!("{}: {error}", dir.display()),
    }
}

/// Replaces a text that stands in a file of the site's bundle.
///
/// # Panics
/// If it does not stand there.
#[expect(clippy::panic, reason = "a test without its files cannot go on")]
pub fn edit(site: &Site, file: &str, old: &str, new: &str) {
    match fs::read_to_string(site.bundle().join(file)) {
        Ok(text) if text.contains(old) => write(site, file, &text.replace(old, new)),
        Ok(_) => panic!("{file} does not hold `{old}`"),
        Err(error) => panic!("{file}: {error}"),
    }
}

/// The name of a time zone in which it is that hour now. The hour may end while the test runs: leave one on both sides.
pub fn zone_where_it_is(hour: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let utc = i64::try_from(now.as_secs() / 3600 % 24).unwrap_or_default();
    // The names of these zones count westward.
    match (hour - utc + 36) % 24 - 12 {
        0 => "Etc/GMT".into(),
        east if east > 0 => format!("Etc/GMT-{east}"),
        west => format!("Etc/GMT+{}", -west),
    }
}

fn made(
    dir: &Path,
    options: &Options,
    edit_site: impl FnOnce(&Site),
    edit_config: impl FnOnce(&mut Config),
) -> Result<Deployment, DeploymentError> {
    let site = Site::make(dir)?;
    edit_site(&site);
    let register = Register::start(&site)?;
    let others = Others::start(&site)?;
    let mut config = site.write_config(others.endpoints(register.address), options)?;
    edit_config(&mut config);
    let gateway = popgate::app::start(config, false)?;
    Ok(Deployment { site, gateway, register, others })
}
