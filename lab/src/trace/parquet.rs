//! Reader of the parquet layout of the shared traces: `instances.parquet` with (id, group,
//! `cpu_request_millicores`, `mem_request_mib`) and `usage.parquet` with (id, `t_s`,
//! `cpu_millicores`, `mem_mib`?), where a sample at `t_s` covers the 300 seconds that follow.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use tengyun_model::{Mebibytes, Millicores};

use super::{
    CELLS_MAX, INSTANCES_MAX, Instance, Rows, STEP_SECS, STEPS_MAX, Series, Trace, TraceError,
    fault, too_large,
};
use crate::number::nearest;

/// Rows decoded at a time: small enough for the cache, large enough to hide the calls.
const BATCH: usize = 65_536;
/// The latest moment, in seconds from the beginning.
const STEPS_MAX_SECS: f64 = 3660.0 * 86_400.0;

/// Reads a directory of the layout.
pub fn read(directory: &Path) -> Result<Trace, TraceError> {
    let mut rows = Rows::default();
    let path = directory.join("instances.parquet");
    let instances = read_instances(&path, &mut rows)?;
    let path = directory.join("usage.parquet");
    let usage = Table::open(&path)?;
    let places: BTreeMap<&str, usize> =
        instances.iter().enumerate().map(|(at, i)| (i.name.as_str(), at)).collect();
    let steps = steps(&usage)?;
    if instances.len().saturating_mul(steps) > CELLS_MAX {
        return Err(too_large(&path, "instances times steps", CELLS_MAX));
    }
    let mut cpu = Series::empty(instances.len(), steps);
    let mut memory = usage.has("mem_mib").then(|| Series::empty(instances.len(), steps));
    let mut columns = vec!["t_s", "cpu_millicores"];
    if memory.is_some() {
        columns.push("mem_mib");
    }
    usage.each(Some("id"), &columns, |id, values| {
        let place = id.and_then(|id| places.get(id));
        let (step, rate) = (values[0].and_then(step_of), values[1].filter(|v| *v >= 0.0));
        let (Some(place), Some(step), Some(rate)) = (place, step, rate) else {
            rows.count(false);
            return;
        };
        rows.count(true);
        cpu.set(*place, step, nearest(rate));
        if let (Some(memory), Some(Some(used))) = (&mut memory, values.get(2)) {
            memory.set(*place, step, nearest(*used));
        }
    })?;
    if cpu.recorded() == 0 {
        let expected = "a directory with instances.parquet and usage.parquet";
        return Err(TraceError::Empty { path, bad: rows.bad, expected });
    }
    let name = directory.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // Its moments are counted from the beginning, which it does not state.
    Ok(Trace { name, instances, cpu, memory, rows, begin_secs: None })
}

/// Reads `instances.parquet` of a directory for when instances come and go: hands over the CPU and
/// memory request, `arrive_s`, and `depart_s`, which is negative where one stays.
pub(crate) fn arrivals(
    directory: &Path,
    mut each: impl FnMut(f64, f64, f64, f64),
) -> Result<(), TraceError> {
    let path = directory.join("instances.parquet");
    let table = Table::open(&path)?;
    if table.rows() > INSTANCES_MAX {
        return Err(too_large(&path, "instances", INSTANCES_MAX));
    }
    let columns = ["cpu_request_millicores", "mem_request_mib", "arrive_s", "depart_s"];
    let limit = STEPS_MAX_SECS;
    let mut bad = 0;
    table.each(None, &columns, |_, values| match values {
        [Some(cpu), Some(memory), Some(arrive), Some(depart)]
            if *cpu >= 0.0 && *memory >= 0.0 && (0.0..limit).contains(arrive) =>
        {
            each(*cpu, *memory, *arrive, depart.min(limit));
        }
        _ => bad += 1,
    })?;
    if bad > 0 {
        return Err(fault(
            &path,
            &format!("{bad} rows say not when their instance comes and goes"),
        ));
    }
    Ok(())
}

fn step_of(secs: f64) -> Option<usize> {
    let step = usize::try_from(nearest(secs) / STEP_SECS).ok()?;
    (secs >= 0.0 && step < STEPS_MAX).then_some(step)
}

fn read_instances(path: &Path, rows: &mut Rows) -> Result<Vec<Instance>, TraceError> {
    let table = Table::open(path)?;
    if table.rows() > INSTANCES_MAX {
        return Err(too_large(path, "instances", INSTANCES_MAX));
    }
    let mut groups = Vec::new();
    if table.has("group") {
        table.each(Some("group"), &[], |group, _| {
            groups.push(group.unwrap_or_default().to_owned());
        })?;
    }
    let mut instances = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut at = 0;
    table.each(Some("id"), &["cpu_request_millicores", "mem_request_mib"], |id, values| {
        let group: String = groups.get(at).cloned().unwrap_or_default();
        at += 1;
        let (Some(id), Some(cpu)) = (id, values[0].filter(|v| *v >= 0.0)) else {
            rows.count(false);
            return;
        };
        // A name that comes twice could not be told apart in the usage.
        let fresh = seen.insert(id.to_owned());
        rows.count(fresh);
        if fresh {
            instances.push(Instance {
                name: id.to_owned(),
                group,
                cpu_request: Millicores::new(nearest(cpu)),
                memory_request: Mebibytes::new(nearest(values[1].unwrap_or(0.0))),
            });
        }
    })?;
    Ok(instances)
}

fn steps(usage: &Table) -> Result<usize, TraceError> {
    let mut last = None;
    usage.each(None, &["t_s"], |_, values| last = last.max(values[0].and_then(step_of)))?;
    Ok(last.map_or(0, |step| step + 1))
}

/// One parquet file.
struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
}

impl Table {
    fn open(path: &Path) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|error| fault(path, &error))?;
        let reader = SerializedFileReader::new(file).map_err(|error| fault(path, &error))?;
        let table = Self { path: path.to_owned(), reader };
        if table.rows() > CELLS_MAX {
            return Err(too_large(path, "rows", CELLS_MAX));
        }
        Ok(table)
    }

    fn rows(&self) -> usize {
        usize::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    fn column(&self, name: &str) -> Option<usize> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.columns().iter().position(|c| c.path().string() == name && c.max_rep_level() == 0)
    }

    fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    fn place(&self, name: &str) -> Result<usize, TraceError> {
        self.column(name).ok_or_else(|| TraceError::File {
            path: self.path.clone(),
            reason: format!("it has no plain column {name}"),
        })
    }

    /// Hands over every row: the text column, if one is named, and the number columns.
    fn each(
        &self,
        text: Option<&str>,
        numbers: &[&str],
        mut row: impl FnMut(Option<&str>, &[Option<f64>]),
    ) -> Result<(), TraceError> {
        let text = text.map(|name| self.place(name)).transpose()?;
        let numbers: Vec<usize> =
            numbers.iter().map(|name| self.place(name)).collect::<Result<_, _>>()?;
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group).map_err(|e| fault(&self.path, &e))?;
            let wanted = Wanted { text, numbers: &numbers };
            each_of_group(group.as_ref(), &wanted, &mut row).map_err(|e| fault(&self.path, &e))?;
        }
        Ok(())
    }
}

/// Columns by their places in the file.
struct Wanted<'a> {
    text: Option<usize>,
    numbers: &'a [usize],
}

type Parquet<T> = Result<T, parquet::errors::ParquetError>;

fn each_of_group(
    group: &dyn RowGroupReader,
    wanted: &Wanted<'_>,
    row: &mut impl FnMut(Option<&str>, &[Option<f64>]),
) -> Parquet<()> {
    let mut names = wanted.text.map(|c| group.get_column_reader(c)).transpose()?;
    let mut columns: Vec<ColumnReader> =
        wanted.numbers.iter().map(|c| group.get_column_reader(*c)).collect::<Parquet<_>>()?;
    let mut values: Vec<Option<f64>> = vec![None; columns.len()];
    let mut left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    while left > 0 {
        let count = left.min(BATCH);
        let texts = names.as_mut().map(|c| texts(c, count)).transpose()?;
        let numbers: Vec<Vec<Option<f64>>> =
            columns.iter_mut().map(|c| read_numbers(c, count)).collect::<Parquet<_>>()?;
        for at in 0..count {
            for (value, column) in values.iter_mut().zip(&numbers) {
                *value = column[at];
            }
            let text = texts.as_ref().and_then(|t| t[at].as_ref());
            row(text.and_then(|t| std::str::from_utf8(t.data()).ok()), &values);
        }
        left -= count;
    }
    Ok(())
}

fn texts(column: &mut ColumnReader, count: usize) -> Parquet<Vec<Option<ByteArray>>> {
    match column {
        ColumnReader::ByteArrayColumnReader(reader) => batch(reader, count),
        _ => Err(parquet::errors::ParquetError::General("a text column was expected".to_owned())),
    }
}

fn read_numbers(column: &mut ColumnReader, count: usize) -> Parquet<Vec<Option<f64>>> {
    Ok(match column {
        ColumnReader::Int32ColumnReader(reader) => {
            batch(reader, count)?.into_iter().map(|v| v.map(f64::from)).collect()
        }
        ColumnReader::Int64ColumnReader(reader) => {
            let wide = |v: i64| i32::try_from(v).ok().map(f64::from);
            batch(reader, count)?.into_iter().map(|v| v.and_then(wide)).collect()
        }
        ColumnReader::FloatColumnReader(reader) => {
            batch(reader, count)?.into_iter().map(|v| v.map(f64::from)).collect()
        }
        ColumnReader::DoubleColumnReader(reader) => batch(reader, count)?,
        _ => {
            let what = "a column of numbers was expected".to_owned();
            return Err(parquet::errors::ParquetError::General(what));
        }
    })
}

/// Reads exactly `count` values; a null is `None`.
fn batch<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    count: usize,
) -> Parquet<Vec<Option<T::T>>> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let wanted = count - out.len();
        let (records, _, _) = reader.read_records(wanted, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            let what = "a column ends before its row group".to_owned();
            return Err(parquet::errors::ParquetError::General(what));
        }
        if levels.is_empty() {
            // A required column has no definition levels.
            out.extend(values.into_iter().map(Some));
            continue;
        }
        let mut values = values.into_iter();
        // At most one level deep: 0 is null.
        out.extend(levels.into_iter().map(|l| if l > 0 { values.next() } else { None }));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_files_says_which_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("instances.parquet"), "{error}");
    }

    #[test]
    fn bytes_that_are_not_parquet_are_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for junk in [b"".as_slice(), b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", &[0; 4096]] {
            std::fs::write(directory.path().join("instances.parquet"), junk).unwrap();
            assert!(matches!(read(directory.path()), Err(TraceError::File { .. })));
        }
    }
}
