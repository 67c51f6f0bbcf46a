//! Each engine behind the few calls that the comparison needs, set up to be durable at every commit.

use crate::{Outcome, Records};
use std::path::Path;

pub const NAMES: &[&str] = &["journal", "redb", "fjall", "sqlite", "heed"];

pub trait Engine {
    fn commit(&mut self, records: &Records) -> Outcome<()>;
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()>;
    /// Gives the engine's own way of getting space back a chance.
    fn settle(&mut self) -> Outcome<()>;
}

pub fn open(name: &str, path: &Path) -> Outcome<Box<dyn Engine>> {
    Ok(match name {
        "journal" => Box::new(Own::open(path)?),
        "redb" => Box::new(Redb(redb::Database::create(path.join("db"))?)),
        "fjall" => Box::new(Fjall::open(path)?),
        "sqlite" => Box::new(Sqlite::open(path)?),
        "heed" => Box::new(Heed::open(path)?),
        other => return Err(format!("no engine {other}").into()),
    })
}

struct Own(store::Journal, store::Fence);

pub fn own(path: &Path) -> Outcome<(store::Journal, store::Fence)> {
    let mut store = store::Journal::open(path, store::Options::default())?.store;
    match store::Store::acquire(&mut store, &store::Holder("bench".to_owned()), stdx::Timestamp(0))? {
        store::Lease::Granted(fence) => Ok((store, fence)),
        store::Lease::HeldBy(_) => Err("held".into()),
    }
}

pub fn committer(path: &Path) -> Outcome<store::Committer> {
    let (store, fence) = own(path)?;
    Ok(store::Committer::start(Box::new(store), fence, 8 << 20)?)
}

impl Own {
    fn open(path: &Path) -> Outcome<Self> {
        let (store, fence) = own(path)?;
        Ok(Self(store, fence))
    }
}

impl Engine for Own {
    fn commit(&mut self, records: &Records) -> Outcome<()> {
        // The copy is part of the price, as callers own their records.
        let batch: Vec<_> = records.iter().map(|(k, v)| store::Record::put(k.clone(), v.clone())).collect();
        store::Store::commit(&mut self.0, self.1, &batch)?;
        Ok(())
    }

    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        store::Store::load(&mut self.0, each)?;
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        store::Store::compact(&mut self.0)?;
        while self.0.monitor().status().compacting {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(())
    }
}

struct Redb(redb::Database);

const TABLE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("records");

impl Engine for Redb {
    fn commit(&mut self, records: &Records) -> Outcome<()> {
        let txn = self.0.begin_write()?;
        let mut table = txn.open_table(TABLE)?;
        for (key, value) in records {
            table.insert(&**key, &**value)?;
        }
        drop(table);
        txn.commit()?;
        Ok(())
    }

    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        use redb::{ReadableDatabase, ReadableTable};
        let txn = self.0.begin_read()?;
        for entry in txn.open_table(TABLE)?.iter()? {
            let (key, value) = entry?;
            each(key.value(), value.value());
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        self.0.compact()?;
        Ok(())
    }
}

struct Fjall(fjall::Database, fjall::Keyspace);

impl Fjall {
    fn open(path: &Path) -> Outcome<Self> {
        let db = fjall::Database::builder(path.join("db")).open()?;
        let keyspace = db.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self(db, keyspace))
    }
}

impl Engine for Fjall {
    fn commit(&mut self, records: &Records) -> Outcome<()> {
        let mut batch = self.0.batch().durability(Some(fjall::PersistMode::SyncData));
        for (key, value) in records {
            batch.insert(&self.1, &**key, &**value);
        }
        batch.commit()?;
        Ok(())
    }

    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.1.iter() {
            let (key, value) = entry.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        self.1.major_compact()?;
        Ok(())
    }
}

struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(path: &Path) -> Outcome<Self> {
        let db = rusqlite::Connection::open(path.join("db"))?;
        db.execute_batch(
            "pragma journal_mode=wal; pragma synchronous=full;
             create table if not exists records(key blob primary key, value blob) without rowid;",
        )?;
        Ok(Self(db))
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, records: &Records) -> Outcome<()> {
        let txn = self.0.transaction()?;
        let mut put =
            txn.prepare("insert into records values(?1, ?2) on conflict(key) do update set value=?2")?;
        for (key, value) in records {
            put.execute((key, value))?;
        }
        drop(put);
        txn.commit()?;
        Ok(())
    }

    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let mut all = self.0.prepare("select key, value from records order by key")?;
        let mut rows = all.query(())?;
        while let Some(row) = rows.next()? {
            each(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        self.0.execute_batch("vacuum; pragma wal_checkpoint(truncate);")?;
        Ok(())
    }
}

type Bytes = heed::types::Bytes;

struct Heed(heed::Env, heed::Database<'static, Bytes, Bytes>);

impl Heed {
    fn open(path: &Path) -> Outcome<Self> {
        // SAFETY: nobody else touches the files of this comparison.
        let env = unsafe { heed::EnvOpenOptions::new().map_size(16 << 30).open(path)? };
        let txn = env.write_txn()?;
        let db = env
            .create_databases_and_commit(txn, |opener, txn| {
                opener.create_database(txn, None).map(heed::CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self(env, db))
    }
}

impl Engine for Heed {
    fn commit(&mut self, records: &Records) -> Outcome<()> {
        let mut txn = self.0.write_txn()?;
        for (key, value) in records {
            self.1.put(&mut txn, key, value)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let txn = self.0.read_txn()?;
        for entry in self.1.iter(&txn)? {
            let (key, value) = entry?;
            each(key, value);
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        // LMDB reuses pages and never shrinks its file in place.
        Ok(())
    }
}
