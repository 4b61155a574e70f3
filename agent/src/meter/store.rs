//! The meters on disk: written whole, renamed into place, with a checksum.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tengyun_model::{
    At, BootId, CoreMillis, Incarnation, InstanceId, MebibyteSeconds, Mebibytes, MeterKey,
    MeterRecord, Millis,
};

use super::{Meter, RECORDS_MAX, SETTLED_MAX};
use crate::observe::Key;

const MAGIC: &[u8; 8] = b"TYMETR02";
const CHECKSUM_BYTES: usize = 32;
/// The numbers of one meter.
const METER_NUMBERS: usize = 17;
/// The largest file: the count, every meter and every settled start.
const FILE_BYTES_MAX: usize =
    8 + CHECKSUM_BYTES + 8 * (1 + METER_NUMBERS * RECORDS_MAX + 2 * SETTLED_MAX);

/// What is on disk.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) meters: BTreeMap<Key, Meter>,
    pub(super) settled: VecDeque<Key>,
}

/// Reads the records; a damaged file is set aside and named in the log.
pub(super) fn load(path: &Path) -> io::Result<Kept> {
    let mut bytes = Vec::new();
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
        Ok(file) => file.take(most.saturating_add(1)).read_to_end(&mut bytes)?,
    };
    if let Some(kept) = decode(&bytes) {
        return Ok(kept);
    }
    let aside = path.with_extension("damaged");
    fs::rename(path, &aside)?;
    tracing::error!(aside = %aside.display(), "the meters on disk are damaged and were set aside");
    Ok(Kept::default())
}

/// Writes the records durably.
pub(super) fn save(
    path: &Path,
    meters: &BTreeMap<Key, Meter>,
    settled: &VecDeque<Key>,
) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&encode(meters, settled))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn encode(meters: &BTreeMap<Key, Meter>, settled: &VecDeque<Key>) -> Vec<u8> {
    let count = u64::try_from(meters.len()).unwrap_or(u64::MAX);
    let mut payload = Vec::with_capacity(8 * (1 + meters.len() * METER_NUMBERS));
    payload.extend(count.to_le_bytes());
    let numbers = meters.values().flat_map(numbers);
    let pairs = settled
        .iter()
        .flat_map(|(instance, incarnation)| [instance.get(), u64::from(incarnation.get())]);
    payload.extend(numbers.chain(pairs).flat_map(u64::to_le_bytes));
    let checksum = Sha256::digest(&payload);
    [MAGIC.as_slice(), checksum.as_slice(), &payload].concat()
}

fn decode(bytes: &[u8]) -> Option<Kept> {
    let rest = bytes.strip_prefix(MAGIC.as_slice())?;
    let (checksum, payload) = rest.split_at_checked(CHECKSUM_BYTES)?;
    if Sha256::digest(payload).as_slice() != checksum {
        return None;
    }
    let (words, []) = payload.as_chunks::<8>() else { return None };
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let (count, words) = words.split_first()?;
    let meters = usize::try_from(*count).ok()?.checked_mul(METER_NUMBERS)?;
    let (meters, settled) = words.split_at_checked(meters)?;
    let (meters, []) = meters.as_chunks::<METER_NUMBERS>() else { return None };
    let (settled, []) = settled.as_chunks::<2>() else { return None };
    Some(Kept {
        meters: meters.iter().map(|numbers| meter(*numbers)).collect::<Option<_>>()?,
        settled: settled.iter().map(|pair| key(pair[0], pair[1])).collect::<Option<_>>()?,
    })
}

/// Lists what is kept of a meter; [`meter`] reads it in the same order.
fn numbers(meter: &Meter) -> [u64; METER_NUMBERS] {
    let record = &meter.record;
    let boot = record.key.boot.get();
    let half = |bits: u32| u64::try_from((boot >> bits) & u128::from(u64::MAX)).unwrap_or(0);
    // What is acknowledged is kept as it is: without it everything would only be sent once more.
    let mark = meter.acknowledged;
    [
        half(64),
        half(0),
        record.key.instance.get(),
        u64::from(record.key.incarnation.get()),
        record.cpu.get(),
        record.memory.get(),
        record.covered.get(),
        record.from.millis(),
        record.to.millis(),
        u64::from(record.last),
        meter.rest,
        meter.memory.get(),
        u64::from(meter.read.is_some()),
        meter.read.unwrap_or_default().get(),
        u64::from(mark.is_some()) + u64::from(mark.is_some_and(|mark| mark.last)),
        mark.map_or(0, |mark| mark.cpu.get()),
        mark.map_or(0, |mark| mark.memory.get()),
    ]
}

fn meter(numbers: [u64; METER_NUMBERS]) -> Option<(Key, Meter)> {
    let [high, low, instance, incarnation, rest @ ..] = numbers;
    let [cpu, memory, covered, from, to, last, thousandths, held, was_read, read, mark @ ..] = rest;
    let [marked, mark_cpu, mark_memory] = mark;
    let key = key(instance, incarnation)?;
    let boot = BootId::new((u128::from(high) << 64) | u128::from(low));
    let record = MeterRecord {
        key: MeterKey { boot, instance: key.0, incarnation: key.1 },
        cpu: CoreMillis::new(cpu),
        memory: MebibyteSeconds::new(memory),
        covered: Millis::new(covered),
        from: At::from_millis(from),
        to: At::from_millis(to),
        last: last == 1,
    };
    let acknowledged = (marked > 0).then_some(MeterRecord {
        cpu: CoreMillis::new(mark_cpu),
        memory: MebibyteSeconds::new(mark_memory),
        last: marked == 2,
        ..record
    });
    let meter = Meter {
        record,
        rest: thousandths,
        read: (was_read == 1).then_some(Millis::new(read)),
        adopted: true,
        memory: Mebibytes::new(held),
        acknowledged,
    };
    Some((key, meter))
}

fn key(instance: u64, incarnation: u64) -> Option<Key> {
    Some((InstanceId::new(instance), Incarnation::new(u32::try_from(incarnation).ok()?)))
}
