//! Watching files: which of the bundle, the agencies' trust and the operators' side changed.
//!
//! The kernel's notifications only say when to look. What counts is a fingerprint of the files themselves, so that renames over
//! a file, swapped symbolic links, folders that vanish and come back, and file systems without notifications (a poll finds
//! those) are all the same case, and reading the files is never taken for a change.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::app::bundle_store;
use crate::app::config::Config;
use crate::break_glass;
use crate::suspend::Store;

mod fingerprint;

pub use fingerprint::expand;
use fingerprint::{Fingerprint, folders, id_of};

/// What is watched. A path's last part may hold one `*`.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// The bundle's folder, with everything below.
    pub bundle: PathBuf,
    /// What operators beside the node want back of older bundles.
    pub rollbacks: Vec<PathBuf>,
    /// Certificates, keys, authorities and revocation lists of the data plane, both sides.
    pub trust: Vec<PathBuf>,
    /// Certificates and authorities of the admin listener.
    pub admin: Vec<PathBuf>,
    /// What plugins read, and the list of sealed persons.
    pub plugins: Vec<PathBuf>,
    /// What is suspended.
    pub suspensions: Vec<PathBuf>,
    /// Break-glass orders and their ledger.
    pub orders: Vec<PathBuf>,
}

impl Targets {
    /// Every file that a configuration names and that may change while the node runs, but for those that have a watch of their own.
    pub fn of(config: &Config) -> Self {
        let tls = &config.tls;
        let mut trust = vec![tls.certificate.clone(), tls.key.clone(), tls.client_cas.clone()];
        trust.extend(tls.crls.clone());
        for register in config.registers.values() {
            trust.extend([register.ca.clone(), register.certificate.clone(), register.key.clone()]);
        }
        let mut admin = Vec::new();
        if let (Some(_), Some(cas)) = (config.listen.admin, &config.admin.client_cas) {
            admin.extend([tls.certificate.clone(), tls.key.clone(), cas.clone()]);
            admin.extend(tls.crls.clone());
        }
        let sealed = config.sealed.iter().flat_map(|sealed| [sealed.list.clone(), sealed.key.clone()]);
        let plugins = config.plugins.iter().flat_map(|plugin| plugin.blueprint.files()).chain(sealed).collect();
        Self { trust, admin, plugins, ..Self::default() }
    }

    /// The bundle and the rollbacks, for a watch of their own: a revocation MUST NOT wait for a bundle to be compiled.
    pub fn of_bundle(config: &Config) -> Self {
        let rollbacks = vec![bundle_store::Store::new(&config.state).rollback_file()];
        Self { bundle: config.bundle.clone(), rollbacks, ..Self::default() }
    }

    /// The suspensions alone, for a watch of their own: the kill switch MUST NOT wait for a bundle to be compiled.
    pub fn of_suspensions(config: &Config) -> Self {
        Self { suspensions: vec![Store::new(&config.state).file()], ..Self::default() }
    }

    /// The break-glass orders alone, likewise.
    pub fn of_orders(config: &Config) -> Self {
        let folder = config.break_glass.as_ref().map(|orders| break_glass::Store::new(&orders.folder).pattern());
        Self { orders: folder.into_iter().collect(), ..Self::default() }
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        let bundle = Some(self.bundle.as_path()).filter(|bundle| !bundle.as_os_str().is_empty());
        let files = [&self.rollbacks, &self.trust, &self.admin, &self.plugins, &self.suspensions, &self.orders];
        let files = files.into_iter().flatten();
        bundle.into_iter().chain(files.map(PathBuf::as_path))
    }

    /// What the files are like now: taken before they are read, nothing that changes meanwhile is missed.
    pub fn seen(&self) -> Seen {
        Seen {
            bundle: Fingerprint::of(
                std::iter::once(self.bundle.as_path()).chain(self.rollbacks.iter().map(PathBuf::as_path)),
            ),
            trust: Fingerprint::of(self.trust.iter().map(PathBuf::as_path)),
            admin: Fingerprint::of(self.admin.iter().map(PathBuf::as_path)),
            plugins: Fingerprint::of(self.plugins.iter().map(PathBuf::as_path)),
            suspensions: Fingerprint::of(self.suspensions.iter().map(PathBuf::as_path)),
            orders: Fingerprint::of(self.orders.iter().map(PathBuf::as_path)),
        }
    }
}

/// What the files were like at one time, see [`Targets::seen`].
#[derive(PartialEq, Eq)]
pub struct Seen {
    bundle: Fingerprint,
    trust: Fingerprint,
    admin: Fingerprint,
    plugins: Fingerprint,
    suspensions: Fingerprint,
    orders: Fingerprint,
}

/// What changed; at least one is true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Something in the bundle's folder, or a rollback.
    pub bundle: bool,
    /// Something in [`Targets::trust`].
    pub trust: bool,
    /// Something in [`Targets::admin`].
    pub admin: bool,
    /// Something in [`Targets::plugins`].
    pub plugins: bool,
    /// Something in [`Targets::suspensions`].
    pub suspensions: bool,
    /// Something in [`Targets::orders`].
    pub orders: bool,
}

impl Changed {
    /// Everything is to be read again: SIGHUP.
    pub const ALL: Self =
        Self { bundle: true, trust: true, admin: true, plugins: true, suspensions: true, orders: true };

    fn any(self) -> bool {
        self.bundle || self.trust || self.admin || self.plugins || self.suspensions || self.orders
    }
}

/// Watches until it is dropped. Dropping waits for a call that is under way.
#[derive(Debug)]
pub struct Watcher {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts watching. `on_change` is called on a thread of its own, one call at a time, once a burst of changes is over (200 ms of
/// quiet, 600 ms at most); what changes during a call makes another one. With `sighup`, that signal makes a call with
/// [`Changed::ALL`], whatever the files say.
///
/// `before` is what the files were like before the caller read them: what changed since makes a call at once.
///
/// # Errors
/// If the thread, the kernel's notifications or the signal handler cannot be had. A path that does not exist is no error.
pub fn watch(
    targets: Targets,
    before: Seen,
    sighup: bool,
    on_change: impl Fn(Changed) + Send + 'static,
) -> io::Result<Watcher> {
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    // Everything is made on the thread: where a part of it fails the runtime is dropped, which a caller's runtime would not bear.
    let thread = std::thread::Builder::new().name("popgate-watch".into()).spawn(move || {
        match Watching::new(targets, before, sighup) {
            Ok(Watching { runtime, watch, woken, hangups }) => {
                let _ = tell.send(Ok(()));
                runtime.block_on(run(watch, woken, hangups, stopped, on_change));
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    })?;
    told.recv().map_err(io::Error::other)??;
    Ok(Watcher { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // The thread ends by itself; if it panicked that was reported already.
            let _ = thread.join();
        }
    }
}

struct Watching {
    runtime: tokio::runtime::Runtime,
    watch: Watch,
    woken: mpsc::Receiver<()>,
    hangups: Option<Signal>,
}

impl Watching {
    fn new(targets: Targets, before: Seen, sighup: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hangups = {
            let _context = runtime.enter();
            if sighup { Some(signal(SignalKind::hangup())?) } else { None }
        };
        let (wake, woken) = mpsc::channel(1);
        // Somebody looks at once. The channel is empty: there is room.
        let _ = wake.try_send(());
        let notifier = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !is_noise(event.kind)) {
                // A full channel means that somebody will look anyway.
                let _ = wake.try_send(());
            }
        });
        let mut watch =
            Watch { notifier: notifier.map_err(io::Error::other)?, watched: BTreeSet::new(), seen: before, targets };
        watch.follow();
        Ok(Self { runtime, watch, woken, hangups })
    }
}

struct Watch {
    notifier: notify::RecommendedWatcher,
    /// Folders with the identity that they had when they were last put under watch.
    watched: BTreeSet<(PathBuf, (u64, u64))>,
    seen: Seen,
    targets: Targets,
}

impl Watch {
    /// Puts the folders that matter now under watch, and only those.
    fn follow(&mut self) {
        let wanted: BTreeSet<_> =
            folders(self.targets.all()).into_iter().filter_map(|dir| id_of(&dir).map(|id| (dir, id))).collect();
        for (gone, _) in self.watched.difference(&wanted) {
            // A folder that was removed is unwatched already.
            let _ = self.notifier.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for (dir, id) in wanted {
            let known = self.watched.contains(&(dir.clone(), id));
            if known || self.notifier.watch(&dir, RecursiveMode::NonRecursive).is_ok() {
                watched.insert((dir, id));
            }
        }
        self.watched = watched;
    }

    /// What is different since the last look.
    fn look(&mut self) -> Changed {
        self.follow();
        let now = self.targets.seen();
        let changed = Changed {
            bundle: now.bundle != self.seen.bundle,
            trust: now.trust != self.seen.trust,
            admin: now.admin != self.seen.admin,
            plugins: now.plugins != self.seen.plugins,
            suspensions: now.suspensions != self.seen.suspensions,
            orders: now.orders != self.seen.orders,
        };
        self.seen = now;
        changed
    }
}

async fn run(
    mut watch: Watch,
    mut woken: mpsc::Receiver<()>,
    mut hangups: Option<Signal>,
    mut stopped: oneshot::Receiver<()>,
    on_change: impl Fn(Changed),
) {
    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => hangups.recv().await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            biased;
            _ = &mut stopped => return,
            _ = hangup => {
                watch.look();
                Changed::ALL
            }
            _ = woken.recv() => {
                // A burst never lasts longer than LONGEST: a file that is written for ever must not hide the others.
                let _ = tokio::time::timeout(LONGEST, quiet(&mut woken)).await;
                watch.look()
            }
            () = tokio::time::sleep(POLL) => watch.look(),
        };
        if changed.any() {
            on_change(changed);
        }
    }
}

/// Ends when nothing happened for a while.
async fn quiet(woken: &mut mpsc::Receiver<()>) {
    while let Ok(Some(())) = tokio::time::timeout(QUIET, woken.recv()).await {}
}

/// Opening and reading is what this node itself does after each change.
fn is_noise(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

const QUIET: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_millis(600);
/// The safety net where the kernel does not notify: a few hundred `stat` calls.
const POLL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc as channel;

    use super::*;

    struct Site {
        dir: tempfile::TempDir,
        calls: channel::Receiver<Changed>,
        _watcher: Watcher,
    }

    /// A site whose bundle is `bundle` and whose CRLs are `crl/*.pem`, made by `prepare`.
    fn site(prepare: impl FnOnce(&Path)) -> Site {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("crl")).unwrap();
        fs::write(dir.path().join("crl/a.pem"), "1").unwrap();
        fs::write(dir.path().join("admin.pem"), "1").unwrap();
        prepare(dir.path());
        let targets = Targets {
            bundle: dir.path().join("bundle"),
            rollbacks: vec![dir.path().join("state/rollback.json")],
            trust: vec![dir.path().join("crl/*.pem")],
            admin: vec![dir.path().join("admin.pem")],
            plugins: vec![dir.path().join("opt-out.list")],
            suspensions: vec![dir.path().join("state/suspensions.toml")],
            orders: vec![dir.path().join("break-glass/*.json")],
        };
        let (sender, calls) = channel::channel();
        let before = targets.seen();
        let watcher = watch(targets, before, false, move |changed| sender.send(changed).unwrap()).unwrap();
        Site { dir, calls, _watcher: watcher }
    }

    fn plain(root: &Path) {
        fs::create_dir_all(root.join("bundle/policies")).unwrap();
        fs::write(root.join("bundle/policies/tax.cedar"), "1").unwrap();
    }

    impl Site {
        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// The first call within the second that a revocation may take.
        fn within_a_second(&self) -> Changed {
            self.calls.recv_timeout(Duration::from_secs(1)).expect("a call within a second")
        }

        fn none_for(&self, time: Duration) {
            assert_eq!(self.calls.recv_timeout(time), Err(channel::RecvTimeoutError::Timeout));
        }
    }

    const NONE: Changed =
        Changed { bundle: false, trust: false, admin: false, plugins: false, suspensions: false, orders: false };
    const BUNDLE: Changed = Changed { bundle: true, ..NONE };
    const TRUST: Changed = Changed { trust: true, ..NONE };
    const ADMIN: Changed = Changed { admin: true, ..NONE };
    const PLUGINS: Changed = Changed { plugins: true, ..NONE };
    const SUSPENSIONS: Changed = Changed { suspensions: true, ..NONE };
    const ORDERS: Changed = Changed { orders: true, ..NONE };

    #[test]
    fn a_written_file_is_noticed_within_a_second_and_only_once() {
        let site = site(plain);
        fs::write(site.path("crl/a.pem"), "22").unwrap();
        assert_eq!(site.within_a_second(), TRUST);
        fs::write(site.path("admin.pem"), "22").unwrap();
        assert_eq!(site.within_a_second(), ADMIN);
        // In a folder that was not there.
        fs::create_dir(site.path("state")).unwrap();
        fs::write(site.path("state/suspensions.toml"), "1").unwrap();
        assert_eq!(site.within_a_second(), SUSPENSIONS);
        fs::write(site.path("state/rollback.json"), "1").unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
        fs::create_dir(site.path("break-glass")).unwrap();
        fs::write(site.path("break-glass/o-1.json"), "1").unwrap();
        assert_eq!(site.within_a_second(), ORDERS);
        fs::write(site.path("bundle/policies/tax.cedar"), "22").unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
        fs::write(site.path("opt-out.list"), "1").unwrap();
        assert_eq!(site.within_a_second(), PLUGINS);
        site.none_for(Duration::from_millis(700));
    }

    #[test]
    fn what_changes_between_reading_and_watching_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("a.crl");
        fs::write(&list, "1").unwrap();
        let targets = Targets { trust: vec![dir.path().join("*.crl")], ..Targets::default() };
        let before = targets.seen();
        fs::write(&list, "22").unwrap();
        let (sender, calls) = channel::channel();
        let _watcher = watch(targets, before, false, move |changed| sender.send(changed).unwrap()).unwrap();
        assert_eq!(calls.recv_timeout(Duration::from_secs(1)), Ok(TRUST));
    }

    #[test]
    fn an_editor_that_renames_over_the_file_is_noticed_and_its_backup_is_not() {
        let site = site(plain);
        fs::write(site.path("bundle/policies/.tax.cedar.swp"), "x").unwrap();
        fs::write(site.path("bundle/policies/tax.cedar~"), "x").unwrap();
        site.none_for(Duration::from_millis(700));
        for round in 0..3 {
            fs::write(site.path("bundle/policies/tax.cedar.tmp"), format!("new {round}")).unwrap();
            fs::rename(site.path("bundle/policies/tax.cedar.tmp"), site.path("bundle/policies/tax.cedar")).unwrap();
            assert_eq!(site.within_a_second(), BUNDLE);
        }
    }

    #[test]
    fn new_and_removed_files_are_noticed_in_new_folders_too() {
        let site = site(plain);
        fs::write(site.path("crl/b.pem"), "1").unwrap();
        assert_eq!(site.within_a_second(), TRUST);
        fs::remove_file(site.path("crl/a.pem")).unwrap();
        assert_eq!(site.within_a_second(), TRUST);
        fs::write(site.path("crl/readme.txt"), "1").unwrap();
        site.none_for(Duration::from_millis(700));
        fs::create_dir(site.path("bundle/agencies")).unwrap();
        fs::write(site.path("bundle/agencies/tax.toml"), "1").unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
        fs::write(site.path("bundle/agencies/tax.toml"), "22").unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
    }

    #[test]
    fn a_folder_swapped_by_a_symbolic_link_is_noticed_each_time() {
        let site = site(|root| {
            for version in ["v1", "v2", "v3"] {
                fs::create_dir_all(root.join(version)).unwrap();
                fs::write(root.join(version).join("purposes.toml"), version).unwrap();
            }
            fs::create_dir(root.join("bundle")).unwrap();
            symlink("../v1", root.join("bundle/..data")).unwrap();
            symlink("..data/purposes.toml", root.join("bundle/purposes.toml")).unwrap();
        });
        for version in ["v2", "v3", "v1"] {
            symlink(format!("../{version}"), site.path("bundle/..new")).unwrap();
            fs::rename(site.path("bundle/..new"), site.path("bundle/..data")).unwrap();
            assert_eq!(site.within_a_second(), BUNDLE);
        }
    }

    #[test]
    fn a_bundle_that_is_itself_a_link_is_followed_to_its_new_target() {
        let site = site(|root| {
            for version in ["v1", "v2"] {
                fs::create_dir_all(root.join(version)).unwrap();
                fs::write(root.join(version).join("purposes.toml"), version).unwrap();
            }
            symlink("v1", root.join("bundle")).unwrap();
        });
        symlink("v2", site.path("next")).unwrap();
        fs::rename(site.path("next"), site.path("bundle")).unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
        fs::write(site.path("v2/purposes.toml"), "edited").unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
    }

    #[test]
    fn a_folder_that_vanishes_and_comes_back_is_watched_again() {
        let site = site(plain);
        fs::remove_dir_all(site.path("bundle")).unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
        plain(site.dir.path());
        assert_eq!(site.within_a_second(), BUNDLE);
        fs::write(site.path("bundle/policies/tax.cedar"), "edited").unwrap();
        assert_eq!(site.within_a_second(), BUNDLE);
    }

    #[test]
    fn reading_the_files_is_no_change() {
        let site = site(plain);
        for _ in 0..5 {
            fs::read(site.path("bundle/policies/tax.cedar")).unwrap();
            fs::read_dir(site.path("crl")).unwrap().count();
        }
        site.none_for(Duration::from_millis(2500));
    }

    #[test]
    fn a_hangup_asks_for_everything() {
        let (sender, calls) = channel::channel();
        let targets = Targets { bundle: "no/such/folder".into(), ..Targets::default() };
        let before = targets.seen();
        let watcher = watch(targets, before, true, move |changed| sender.send(changed).unwrap()).unwrap();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).unwrap();
        assert_eq!(calls.recv_timeout(Duration::from_secs(1)).unwrap(), Changed::ALL);
        drop(watcher);
        assert!(calls.recv().is_err(), "a dropped watcher has let go of its callback");
    }
}
