//! Filling a database: whole households, family by family, in one transaction.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio_postgres::{Client, Transaction, binary_copy::BinaryCopyInWriter};

use super::{Database, DatabaseError, pool, rows};
use crate::register::{Citizen, population};

/// What was done.
#[derive(Clone, Copy, Debug)]
pub struct Seeded {
    /// How many citizens there are now: those asked for, and the rest of the last household.
    pub citizens: u64,
    /// Computing and copying.
    pub loading: Duration,
    /// Indices and statistics.
    pub indexing: Duration,
}

/// Puts so many citizens, those of [`population::seeded`], into a database that has none. With `replace`, those that it
/// has go; until all is there, others see what was there before, and after a failure, too.
///
/// # Errors
/// If the database cannot be used, has citizens already, or has a table of that name which is not ours.
pub async fn seed(
    database: &Database,
    citizens: u64,
    replace: bool,
    progress: &ProgressBar,
) -> Result<Seeded, DatabaseError> {
    let config = database.0.config();
    let mut client: Client = pool::connect(config).await?;
    let wrong = |error| DatabaseError::asking(config, &error);
    let transaction = client.transaction().await.map_err(wrong)?;
    // Of two who seed at once, the second waits, and then sees what the first one made.
    transaction.execute("select pg_advisory_xact_lock(hashtext($1))", &[&MARK]).await.map_err(wrong)?;
    make_room(database, &transaction, replace).await?;

    let start = Instant::now();
    transaction.batch_execute(&table()).await.map_err(wrong)?;
    let copied = copy(&transaction, citizens, progress).await.map_err(wrong)?;
    let loading = start.elapsed();
    progress.set_message("; indices follow");
    transaction.batch_execute(INDICES).await.map_err(wrong)?;
    transaction.commit().await.map_err(wrong)?;
    Ok(Seeded { citizens: copied, loading, indexing: start.elapsed().saturating_sub(loading) })
}

async fn make_room(database: &Database, transaction: &Transaction<'_>, replace: bool) -> Result<(), DatabaseError> {
    let config = database.0.config();
    let wrong = |error| DatabaseError::asking(config, &error);
    let place = database.0.place();
    let look = "select to_regclass('citizens') is not null, obj_description(to_regclass('citizens'), 'pg_class')";
    let found = transaction.query_one(look, &[]).await.map_err(wrong)?;
    let exists: bool = found.try_get(0).map_err(wrong)?;
    let mark: Option<&str> = found.try_get(1).map_err(wrong)?;
    if !exists {
        return Ok(());
    }
    if mark != Some(MARK) {
        return Err(DatabaseError::Foreign { place });
    }
    let count = transaction.query_one("select count(*) from citizens", &[]).await.map_err(wrong)?;
    let citizens: i64 = count.try_get(0).map_err(wrong)?;
    if citizens > 0 && !replace {
        return Err(DatabaseError::NotEmpty { place, citizens });
    }
    transaction.batch_execute("drop table citizens").await.map_err(wrong)
}

/// Records are computed on a thread of their own, while those before are sent.
async fn copy(
    transaction: &Transaction<'_>,
    citizens: u64,
    progress: &ProgressBar,
) -> Result<u64, tokio_postgres::Error> {
    let (send, mut computed) = mpsc::channel::<Vec<(Citizen, i16)>>(BATCHES);
    let households = move || {
        let mut batch = Vec::with_capacity(BATCH);
        for home in population::seeded_households(citizens) {
            let members = home.members().filter_map(|person| Citizen::of(person.number()));
            batch.extend(members.zip(0..));
            // Nobody receives after a failure.
            if batch.len() >= BATCH && send.blocking_send(std::mem::take(&mut batch)).is_err() {
                return;
            }
        }
        drop(send.blocking_send(batch));
    };
    let columns = rows::COLUMNS.iter().chain([&rows::MEMBER]);
    let names: Vec<&str> = columns.clone().map(|(name, _, _)| *name).collect();
    let types: Vec<_> = columns.map(|(_, _, kind)| kind.clone()).collect();
    let statement = format!("copy citizens ({}) from stdin (format binary, freeze)", names.join(", "));
    let sink = transaction.copy_in(&statement).await?;
    let computing = tokio::task::spawn_blocking(households);
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    while let Some(batch) = computed.recv().await {
        for (citizen, member) in &batch {
            rows::written(writer.as_mut(), citizen, *member).await?;
        }
        progress.inc(batch.len() as u64);
    }
    drop(computing.await);
    writer.finish().await
}

fn table() -> String {
    let columns: Vec<String> = rows::COLUMNS
        .iter()
        .chain([&rows::MEMBER])
        .map(|(name, declaration, _)| format!("{name} {declaration}"))
        .collect();
    format!("create table citizens ({}); comment on table citizens is '{MARK}'", columns.join(", "))
}

/// Says that a table is ours.
const MARK: &str = "popgate-demo: synthetic citizens";

/// One for each way to ask; the last serves searches in two orders.
const INDICES: &str = "alter table citizens add primary key (id);
create index citizens_household on citizens (household_id, member);
create index citizens_search on citizens (province_code, date_of_birth, full_name, id);
analyze citizens";

const BATCH: usize = 512;
const BATCHES: usize = 8;
