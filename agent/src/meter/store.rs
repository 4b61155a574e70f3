//! The meters on disk: written whole, renamed into place, with a checksum.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tengyun_model::{
    At, BootId, CoreMillis, Incarnation, InstanceId, MebibyteSeconds, Mebibytes, MeterKey,
    MeterRecord, Millis,
};

use super::{Meter, RECORDS_MAX};

const MAGIC: &[u8; 8] = b"TYMETR01";
const CHECKSUM_BYTES: usize = 32;
/// One record: a boot id, then eleven numbers.
const RECORD_BYTES: usize = 16 + 11 * 8;
const FILE_BYTES_MAX: usize = 8 + CHECKSUM_BYTES + RECORD_BYTES * RECORDS_MAX;

/// Reads the records; a damaged file is set aside and named in the log.
pub(super) fn load(path: &Path) -> io::Result<BTreeMap<MeterKey, Meter>> {
    let size = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
        Ok(metadata) => usize::try_from(metadata.len()).unwrap_or(usize::MAX),
    };
    let bytes = if size <= FILE_BYTES_MAX { fs::read(path)? } else { Vec::new() };
    if let Some(meters) = decode(&bytes) {
        return Ok(meters);
    }
    let aside = path.with_extension("damaged");
    fs::rename(path, &aside)?;
    tracing::error!(aside = %aside.display(), "the meters on disk are damaged and were set aside");
    Ok(BTreeMap::new())
}

/// Writes the records durably.
pub(super) fn save(path: &Path, meters: &BTreeMap<MeterKey, Meter>) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&encode(meters))?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn encode(meters: &BTreeMap<MeterKey, Meter>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(meters.len().saturating_mul(RECORD_BYTES));
    for meter in meters.values().take(RECORDS_MAX) {
        let record = &meter.record;
        payload.extend(record.key.boot.get().to_le_bytes());
        let kept = meter.acknowledged.filter(|a| a == record);
        for number in [
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
            u64::from(kept.is_some()),
        ] {
            payload.extend(number.to_le_bytes());
        }
    }
    let checksum = Sha256::digest(&payload);
    [MAGIC.as_slice(), checksum.as_slice(), &payload].concat()
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<MeterKey, Meter>> {
    let rest = bytes.strip_prefix(MAGIC.as_slice())?;
    let (checksum, payload) = rest.split_at_checked(CHECKSUM_BYTES)?;
    if Sha256::digest(payload).as_slice() != checksum || payload.len() % RECORD_BYTES != 0 {
        return None;
    }
    payload.chunks_exact(RECORD_BYTES).map(record).collect()
}

fn record(bytes: &[u8]) -> Option<(MeterKey, Meter)> {
    let (boot, numbers) = bytes.split_first_chunk::<16>()?;
    let numbers: Vec<u64> = numbers
        .chunks_exact(8)
        .map(|n| n.try_into().map(u64::from_le_bytes))
        .collect::<Result<_, _>>()
        .ok()?;
    let &[instance, incarnation, cpu, memory, covered, from, to, last, rest, held, kept] =
        numbers.as_slice()
    else {
        return None;
    };
    let key = MeterKey {
        boot: BootId::new(u128::from_le_bytes(*boot)),
        instance: InstanceId::new(instance),
        incarnation: Incarnation::new(u32::try_from(incarnation).ok()?),
    };
    let record = MeterRecord {
        key,
        cpu: CoreMillis::new(cpu),
        memory: MebibyteSeconds::new(memory),
        covered: Millis::new(covered),
        from: At::from_millis(from),
        to: At::from_millis(to),
        last: last == 1,
    };
    let acknowledged = (kept == 1).then_some(record);
    Some((key, Meter { record, rest, read: None, memory: Mebibytes::new(held), acknowledged }))
}
