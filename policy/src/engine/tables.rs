//! Where the tables are: one a (shape, operation, purpose), made when it is first asked for or beforehand, kept over changes that do
//! not bear on it, and one where they are equal.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::engine::warn::Findings;
use crate::engine::{Engine, Table};
use crate::model::{OperationId, PurposeId, SystemId};

/// The tables of one bundle.
#[derive(Debug)]
pub(super) struct Tables {
    operations: usize,
    // INVARIANT: one a (shape, operation), in that order.
    rows: Vec<Row>,
    /// Those for purposes that nobody of the shape is enrolled for.
    others: Mutex<HashMap<(usize, usize, PurposeId), Arc<Table>>>,
    pool: Arc<Pool>,
}

/// The tables of one shape and operation. A clone shares them, those that are still to be made too.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What somebody of the shape is enrolled for, or could be lent.
    purposes: Arc<[PurposeId]>,
    // INVARIANT: one a purpose.
    slots: Arc<[Slot]>,
    /// What an author should look at.
    pub(super) findings: Arc<OnceLock<Findings>>,
}

#[derive(Debug, Default)]
struct Slot {
    table: OnceLock<Arc<Table>>,
    /// Whether a request needed it.
    used: AtomicBool,
}

/// Equal tables are one, also over changes of the bundle.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<u64, Vec<Weak<Table>>>>);

/// Tables that are still to be made: those of one shape and operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanting {
    shape: usize,
    operation: usize,
    /// Whether requests needed them in the bundle before.
    pub hot: bool,
}

/// How much the tables of a bundle are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Footprint {
    /// Combinations of kind of caller, operation and purpose that somebody is enrolled for, or could be lent.
    pub combinations: usize,
    /// Of these, the ones that were made.
    pub made: usize,
    /// How many different ones there are.
    pub distinct: usize,
    /// What the different ones take in memory, with what they remember. Bytes, estimated.
    pub bytes: usize,
}

impl Engine {
    /// What is still to be made of the tables, first what requests needed of `before`. Nobody has to: a table that is missing is
    /// made by the first request that needs it.
    pub fn wanting(&self, before: Option<&Self>) -> Vec<Wanting> {
        let mut hot = vec![false; self.tables.rows.len()];
        let old: HashMap<&SystemId, usize> =
            before.iter().flat_map(|before| before.shape_of.iter()).map(|(id, shape)| (id, *shape)).collect();
        let of_systems = self.shape_of.iter().filter_map(|(id, shape)| Some((shape, *old.get(id)?)));
        let places: HashMap<&OperationId, usize> = before
            .iter()
            .flat_map(|before| before.operations.iter().enumerate())
            .map(|(at, asked)| (&asked.operation.id, at))
            .collect();
        for (shape, old) in of_systems {
            for (operation, asked) in self.operations.iter().enumerate() {
                let row = before.zip(places.get(&asked.operation.id));
                let was_used = row.and_then(|(before, at)| before.tables.row(old, *at)).is_some_and(Row::is_used);
                if let Some(hot) = hot.get_mut(shape * self.operations.len() + operation) {
                    *hot |= was_used;
                }
            }
        }
        let all = self.tables.rows.iter().zip(hot).enumerate().filter(|(_, (row, _))| row.is_wanting());
        let operations = self.operations.len().max(1);
        let all = all.map(|(at, (_, hot))| Wanting { shape: at / operations, operation: at % operations, hot });
        let (mut first, rest): (Vec<_>, Vec<_>) = all.partition(|wanting| wanting.hot);
        first.extend(rest);
        first
    }

    /// Makes those tables, unless somebody did meanwhile.
    pub fn make(&self, wanting: Wanting) {
        let Wanting { shape, operation, .. } = wanting;
        let (Some(row), Some(of), Some(asked)) =
            (self.tables.row(shape, operation), self.shapes.get(shape), self.operations.get(operation))
        else {
            return;
        };
        for (at, purpose) in row.purposes.iter().enumerate() {
            if let Some(purpose) = self.purposes.get(purpose) {
                row.table(at, false, || self.tables.pool.share(self.build(&of.lineage, asked, purpose).table));
            }
        }
    }
}

impl Tables {
    pub(super) fn new(operations: usize, rows: Vec<Row>, pool: Arc<Pool>) -> Self {
        Self { operations, rows, others: Mutex::default(), pool }
    }

    pub(super) fn row(&self, shape: usize, operation: usize) -> Option<&Row> {
        self.rows.get(shape * self.operations + operation)
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The table; `make` is called once, whoever else waits, and knows nothing of purposes of other bundles. `used` says that a
    /// request needs it.
    pub(super) fn table(
        &self,
        (shape, operation, purpose): (usize, usize, &PurposeId),
        used: bool,
        make: impl FnOnce() -> Option<Table>,
    ) -> Option<Arc<Table>> {
        let row = self.row(shape, operation)?;
        if let Some(at) = row.purposes.iter().position(|known| known == purpose) {
            return row.table(at, used, || self.pool.share(make().unwrap_or_else(Table::closed)));
        }
        let key = (shape, operation, purpose.clone());
        if let Some(known) = self.others().get(&key) {
            return Some(Arc::clone(known));
        }
        let made = self.pool.share(make()?);
        self.others().insert(key, Arc::clone(&made));
        Some(made)
    }

    fn others(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, usize, PurposeId), Arc<Table>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn footprint(&self) -> Footprint {
        let mut distinct: HashMap<*const Table, usize> = HashMap::new();
        let (mut combinations, mut made) = (0, 0);
        let mut count = |table: &Arc<Table>| {
            made += 1;
            distinct.entry(Arc::as_ptr(table)).or_insert_with(|| table.bytes());
        };
        for slot in self.rows.iter().flat_map(|row| row.slots.iter()) {
            combinations += 1;
            slot.table.get().map(&mut count);
        }
        let others = self.others();
        combinations += others.len();
        others.values().for_each(&mut count);
        Footprint { combinations, made, distinct: distinct.len(), bytes: distinct.values().sum() }
    }
}

impl Row {
    pub(super) fn new(purposes: &Arc<[PurposeId]>) -> Self {
        Self {
            purposes: Arc::clone(purposes),
            slots: purposes.iter().map(|_| Slot::default()).collect(),
            findings: Arc::default(),
        }
    }

    /// The same tables for those purposes; what was found of them is looked for anew.
    pub(super) fn for_purposes(&self, purposes: &Arc<[PurposeId]>) -> Self {
        if self.purposes == *purposes {
            return Self { findings: Arc::default(), ..self.clone() };
        }
        let slot = |purpose: &PurposeId| {
            let known = self.purposes.iter().position(|known| known == purpose);
            let known = known.and_then(|at| self.slots.get(at));
            let slot = Slot::default();
            if let Some(table) = known.and_then(|known| known.table.get()) {
                slot.table.get_or_init(|| Arc::clone(table));
            }
            slot.used.store(known.is_some_and(|known| known.used.load(Ordering::Relaxed)), Ordering::Relaxed);
            slot
        };
        Self { purposes: Arc::clone(purposes), slots: purposes.iter().map(slot).collect(), findings: Arc::default() }
    }

    pub(super) fn purposes(&self) -> &Arc<[PurposeId]> {
        &self.purposes
    }

    pub(super) fn table(&self, at: usize, used: bool, make: impl FnOnce() -> Arc<Table>) -> Option<Arc<Table>> {
        let slot = self.slots.get(at)?;
        if used && !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(slot.table.get_or_init(make)))
    }

    /// Whether a table of it is still to be made.
    fn is_wanting(&self) -> bool {
        self.slots.iter().any(|slot| slot.table.get().is_none())
    }

    /// Whether requests needed any of its tables.
    pub(super) fn is_used(&self) -> bool {
        self.slots.iter().any(|slot| slot.used.load(Ordering::Relaxed))
    }
}

impl Pool {
    /// The table that is equal to it, or the table itself.
    pub(super) fn share(&self, table: Table) -> Arc<Table> {
        let mut hasher = DefaultHasher::new();
        table.hash(&mut hasher);
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = pool.entry(hasher.finish()).or_default();
        if let Some(known) = alike.iter().filter_map(Weak::upgrade).find(|known| **known == table) {
            return known;
        }
        let table = Arc::new(table);
        alike.retain(|known| known.strong_count() > 0);
        alike.push(Arc::downgrade(&table));
        table
    }

    /// Forgets what nobody has any more.
    pub(super) fn tidy(&self) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.retain(|_, alike| alike.iter().any(|known| known.strong_count() > 0));
    }
}
