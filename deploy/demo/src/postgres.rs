//! A throw-away PostgreSQL: Debian's package, a folder of its own, a Unix socket and no port, gone when it is dropped.
//!
//! Nothing in it outlives it, so it does not wait for disks. PostgreSQL refuses to run as root: then it runs as the user
//! `postgres`, which the package made.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::register::database::{Database, DatabaseError, seed};

/// A running server. Dropped, it is stopped by its process id and its folder goes.
#[derive(Debug)]
pub struct Postgres {
    server: Child,
    folder: TempDir,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Not installed.
    #[error("PostgreSQL is not installed: no `initdb` in {PACKAGED}/*/bin or PATH; apt install postgresql")]
    Missing,
    /// We are root, and there is nobody else to be.
    #[error("PostgreSQL does not run as root, and there is no user `{USER}`: apt install postgresql makes one")]
    NoUser,
    /// A folder or a program.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// A program of PostgreSQL failed.
    #[error("PostgreSQL's {what}: {said}")]
    Failed {
        /// Which.
        what: &'static str,
        /// The end of what it said.
        said: String,
    },
    /// It cannot be filled.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Postgres {
    /// Starts one, empty, and waits until it answers: a second or two.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not start.
    pub fn start() -> Result<Self, PostgresError> {
        let programs = programs().ok_or(PostgresError::Missing)?;
        let owner = owner()?;
        // Beside the deployment, not in it: its owner may not enter a folder of root's.
        let folder = tempfile::Builder::new().prefix("popgate-postgres-").tempdir().map_err(io("a folder for it"))?;
        if let Some((user, group)) = owner {
            chown(folder.path(), Some(user), Some(group)).map_err(io("a folder for it"))?;
        }
        let run = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder.path()).env("LC_ALL", "C").stdin(Stdio::null());
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let data = folder.path().join("data");
        let made = run("initdb")
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "--username", ROLE, "--pgdata"])
            .arg(&data)
            .output()
            .map_err(io("initdb"))?;
        if !made.status.success() {
            return Err(PostgresError::Failed { what: "initdb", said: last_line(&made.stderr) });
        }
        // The one user of this server needs no password; another, whom a test makes, does.
        let access = format!("local all {ROLE} trust\nlocal all all scram-sha-256\n");
        fs::write(data.join("pg_hba.conf"), access).map_err(io("pg_hba.conf"))?;

        let log = fs::File::create(folder.path().join("log")).map_err(io("a log for it"))?;
        let mut command = run("postgres");
        command.arg("-D").arg(&data).stdout(Stdio::null()).stderr(log);
        for (name, value) in SETTINGS {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut sockets = OsString::from("unix_socket_directories=");
        sockets.push(folder.path());
        command.arg("-c").arg(sockets);
        let server = command.spawn().map_err(io("postgres"))?;
        let mut postgres = Self { server, folder };
        postgres.wait_until_ready(&data)?;
        Ok(postgres)
    }

    /// Where it is: for `psql`, and for `--database`.
    pub fn url(&self) -> String {
        self.url_of(ROLE)
    }

    /// The same for another user.
    pub fn url_of(&self, user: &str) -> String {
        // A socket's folder is a host, percent-encoded.
        let encode = |byte: &u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(*byte).to_string(),
            other => format!("%{other:02X}"),
        };
        let host: String = self.folder.path().as_os_str().as_bytes().iter().map(encode).collect();
        format!("postgres://{user}@{host}/{DATABASE}")
    }

    /// Fills it with so many citizens of the population.
    ///
    /// # Errors
    /// If it does not take them.
    pub fn seeded(&self, citizens: u64) -> Result<Database, PostgresError> {
        let database = Database::new(&self.url())?;
        // A thread of its own: who calls this may be on a runtime already.
        thread::scope(|scope| {
            let seeding = scope.spawn(|| -> Result<(), PostgresError> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let unseen = ProgressBar::hidden();
                runtime.map_err(io("a runtime"))?.block_on(seed(&database, citizens, true, &unseen))?;
                Ok(())
            });
            seeding.join().unwrap_or(Err(PostgresError::Failed { what: "seed", said: "it broke off".into() }))
        })?;
        Ok(database)
    }

    /// Ends it at once, as a crash would; it can be dropped after.
    pub fn stop(&mut self) {
        // Not SIGKILL: it leaves shared memory behind.
        if let Ok(id) = i32::try_from(self.server.id())
            && matches!(self.server.try_wait(), Ok(None))
        {
            let _ = kill(Pid::from_raw(id), Signal::SIGQUIT);
        }
        let since = Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) {
            if since.elapsed() > PATIENCE {
                let _ = self.server.kill();
            }
            thread::sleep(MOMENT);
        }
    }

    /// The eighth line of its lock file says how far it is.
    fn wait_until_ready(&mut self, data: &Path) -> Result<(), PostgresError> {
        let since = Instant::now();
        loop {
            let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if state.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
                return Ok(());
            }
            if matches!(self.server.try_wait(), Ok(Some(_)) | Err(_)) || since.elapsed() > PATIENCE {
                let said = fs::read(self.folder.path().join("log")).unwrap_or_default();
                return Err(PostgresError::Failed { what: "server does not start", said: last_line(&said) });
            }
            thread::sleep(MOMENT);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where `initdb` is: the newest version of the package, else what PATH says.
fn programs() -> Option<PathBuf> {
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let packaged = fs::read_dir(PACKAGED).ok().into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = packaged.filter(|folder| folder.join("bin/initdb").is_file()).max_by_key(version);
    newest.map(|folder| folder.join("bin")).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file())
    })
}

/// Whom it has to run as: nobody else, unless we are root.
fn owner() -> Result<Option<(u32, u32)>, PostgresError> {
    if fs::metadata("/proc/self").map_err(io("/proc/self"))?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(io("/etc/passwd"))?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix(USER)?.strip_prefix(':')?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.map(Some).ok_or(PostgresError::NoUser)
}

fn last_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> PostgresError {
    move |cause| PostgresError::Io { what, cause }
}

const PACKAGED: &str = "/usr/lib/postgresql";
const USER: &str = "postgres";
const ROLE: &str = "register";
/// Made by `initdb`.
const DATABASE: &str = "postgres";
const PATIENCE: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(20);

/// No port, no waiting for disks, nothing written twice.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "2GB"),
    ("shared_buffers", "128MB"),
    ("maintenance_work_mem", "256MB"),
    ("max_connections", "50"),
    ("autovacuum", "off"),
    ("jit", "off"),
];
