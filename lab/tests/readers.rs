//! Every reader: what publishers give is read, every bad row is counted, and nothing hostile gets far.

use std::io::Write as _;
use std::path::Path;

use tempfile::TempDir;
use tengyun_lab::trace::{self, Format, Trace, TraceError};

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }
    directory
}

fn guessed(directory: &TempDir, format: Format) -> Trace {
    assert_eq!(Format::guess(directory.path()), Some(format));
    trace::read(directory.path(), None).expect("a trace")
}

/// Name, request, memory request and held values of every instance.
fn seen(trace: &Trace) -> Vec<(String, u64, u64, Vec<u32>)> {
    let one = |at: usize| {
        let i = &trace.instances[at];
        let held = trace.cpu.held(at).collect();
        (i.name.clone(), i.cpu_request.get(), i.memory_request.get(), held)
    };
    (0..trace.instances.len()).map(one).collect()
}

fn is(name: &str, cpu: u64, memory: u64, held: &[u32]) -> (String, u64, u64, Vec<u32>) {
    (name.to_owned(), cpu, memory, held.to_vec())
}

#[test]
fn a_planetlab_day_has_the_types_of_its_quarters() {
    let files = directory(&[
        ("a_x_y", "10\n20\n"),
        ("b_x_y", "0\n101\nnonsense\n5\n"),
        ("c_x_y", "50\n50\n"),
        ("d_x_y", "100\n1\n"),
    ]);
    let trace = guessed(&files, Format::PlanetLab);
    let wanted = [
        is("a_x_y", 2500, 870, &[250, 500, 500, 500]),
        is("b_x_y", 2000, 1740, &[0, 0, 0, 100]),
        is("c_x_y", 1000, 1740, &[500; 4]),
        is("d_x_y", 500, 613, &[500, 5, 5, 5]),
    ];
    assert_eq!(seen(&trace), wanted);
    assert_eq!((trace.rows.read, trace.rows.bad), (10, 2));
}

#[test]
fn bitbrains_rows_become_shares_of_cores() {
    let head = "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\t\
                CPU usage [%];\tMemory capacity provisioned [KB];\tMemory usage [KB]\n";
    let rows = "1372629804;\t2;\t5852.0;\t87.8;\t1.5;\t8388608.0;\t204800.0\n\
                1372630104;\t2;\t5852.0;\t0;\t50;\t8388608.0;\t409600.0\nbroken;row\n";
    let files = directory(&[("1.csv", &format!("{head}{rows}"))]);
    let trace = guessed(&files, Format::Bitbrains);
    assert_eq!(seen(&trace), [is("1", 2000, 8192, &[30, 1000])]);
    assert_eq!(trace.memory_peak(0), Some(400));
    assert_eq!(trace.rows.bad, 1);
}

/// Packs every file as its publisher does.
fn packed(files: &[(&str, &str)]) -> TempDir {
    let directory = directory(&[]);
    for (name, content) in files {
        std::fs::write(directory.path().join(name), gzip(content.as_bytes())).expect("a file");
    }
    directory
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(content).expect("memory takes it");
    packer.finish().expect("memory takes it")
}

/// An archive of one file.
fn tar(name: &str, content: &str) -> Vec<u8> {
    let mut archive = vec![0; 512];
    archive[..name.len()].copy_from_slice(name.as_bytes());
    archive[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    archive[156] = b'0';
    archive[257..262].copy_from_slice(b"ustar");
    archive.extend(content.as_bytes());
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

/// V1 names its readings "of 125" and says cores and GiB as numbers.
#[test]
fn azure_of_2017_states_sizes_as_numbers() {
    let table = "vm1/a+b=,tenant1,d,0,300,9,5,8,Interactive,4,7\n\
                 vm2,tenant2,d,0,2591700,9,5,8,Delay-insensitive,2,3.5\nvm3,t,d,0,1,1,1,1,x,bad,bad\n";
    let readings = "0,vm1/a+b=,1,9,5\n0,vm2,1,9,50\n0,vm3,1,2,25\n";
    let later = "300,vm1/a+b=,1,9,10\n300,vm2\nx,vm1/a+b=,1,9,5\n";
    let files = packed(&[
        ("vmtable.csv.gz", table),
        ("vm_cpu_readings-file-1-of-125.csv.gz", readings),
        ("vm_cpu_readings-file-2-of-125.csv.gz", later),
    ]);
    // As it is published, and with all of it in one directory.
    let folders = directory(&[("vmtable/x", ""), ("vm_cpu_readings/x", "")]);
    for (folder, name, content) in [
        ("vmtable", "vmtable.csv.gz", table),
        ("vm_cpu_readings", "vm_cpu_readings-file-1-of-125.csv.gz", readings),
        ("vm_cpu_readings", "vm_cpu_readings-file-2-of-125.csv.gz", later),
    ] {
        std::fs::write(folders.path().join(folder).join(name), gzip(content.as_bytes())).unwrap();
    }
    assert_eq!(seen(&guessed(&folders, Format::Azure)), seen(&guessed(&files, Format::Azure)));
    let trace = guessed(&files, Format::Azure);
    let wanted = [
        is("vm1/a+b=", 4000, 7 * 1024, &[200, 400]),
        is("vm2", 2000, 3584, &[1000, 1000]),
        is("vm3", 1000, 0, &[250, 250]),
    ];
    assert_eq!(seen(&trace), wanted);
    assert_eq!(trace.instances[0].group, "tenant1");
    assert_eq!((trace.rows.read, trace.rows.bad), (9, 3));
}

/// V2 names its readings "of 195" and says cores and GiB as buckets, the last of which is open.
#[test]
fn azure_of_2019_states_sizes_as_buckets() {
    let table = "vm1,tenant1,d,0,300,9,5,8,Interactive,8,32\n\
                 vm2,tenant1,d,0,300,9,5,8,Unknown,>24,>64\n";
    let readings = "0,vm1,1,9,5\n300,vm1,1,9,10\n0,vm2,1,9,50\n0,vm4,1,9,10\n";
    let files = packed(&[
        ("vmtable.csv.gz", table),
        ("vm_cpu_readings-file-1-of-195.csv.gz", readings),
        // The same, already unpacked: it is not read twice.
        ("vm_cpu_readings-file-1-of-195.csv", readings),
    ]);
    let trace = guessed(&files, Format::Azure);
    let wanted = [
        is("vm1", 8000, 32 * 1024, &[400, 800]),
        is("vm2", 24_000, 64 * 1024, &[12_000, 12_000]),
        is("vm4", 1000, 0, &[100, 100]),
    ];
    assert_eq!(seen(&trace), wanted);
    assert_eq!((trace.rows.read, trace.rows.bad), (6, 0));
}

#[test]
fn alibaba_containers_ask_in_hundredths_of_cores() {
    let meta = "c_1,m_1,0,app_7,started,400,800,1.56\n";
    let usage = "c_1,m_1,0,25,50,,,,,,\nc_1,m_1,300,nan,50,,,,,,\n,,,\n";
    let plain = directory(&[("container_meta.csv", meta), ("container_usage.csv", usage)]);
    // As it is published: each in an archive of its own.
    let published = directory(&[]);
    for (name, content) in [("container_meta", meta), ("container_usage", usage)] {
        let archive = gzip(&tar(&format!("{name}.csv"), content));
        std::fs::write(published.path().join(format!("{name}.tar.gz")), archive).unwrap();
    }
    for files in [plain, published] {
        let trace = guessed(&files, Format::Alibaba);
        assert_eq!(seen(&trace), [is("c_1", 4000, 2045, &[1000])]);
        assert_eq!(trace.rows.bad, 2);
    }
}

#[test]
fn google_tasks_are_shares_of_the_largest_machine() {
    let events = "0,,7,1,,0,u,0,9,0.25,0.125,0,\n";
    let usage = "600000000,900000000,7,1,m,0.125,0.0625\n1,2,,,\n";
    let plain =
        directory(&[("task_events/part-00000.csv", events), ("task_usage/part-00000.csv", usage)]);
    let published = directory(&[("task_events/x", ""), ("task_usage/x", "")]);
    for (folder, content) in [("task_events", events), ("task_usage", usage)] {
        let path = published.path().join(folder).join("part-00000-of-00500.csv.gz");
        std::fs::write(path, gzip(content.as_bytes())).unwrap();
    }
    for files in [plain, published] {
        let trace = guessed(&files, Format::Google);
        assert_eq!(seen(&trace), [is("7-1", 8000, 16_384, &[4000])]);
        assert_eq!((trace.memory_peak(0), trace.rows.bad), (Some(8192), 1));
    }
}

#[test]
fn what_is_packed_and_cut_is_an_error_that_says_so() {
    let text = format!("id,t_s,cpu_millicores\n{}", "a,0,1\n".repeat(5000));
    let whole = gzip(text.as_bytes());
    for (name, format) in [("use.csv.gz", Format::Csv), ("use.csv", Format::Csv)] {
        let files = directory(&[]);
        std::fs::write(files.path().join(name), &whole).unwrap();
        assert_eq!(guessed(&files, format).rows.read, 5000, "{name}");
        let lone = files.path().join(name);
        assert_eq!(Format::guess(&lone), Some(format));
        std::fs::write(&lone, &whole[..whole.len() / 2]).unwrap();
        let error = trace::read(files.path(), None).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("its gzip is broken"), "{error}");
    }
    // Of JSON the file is one row.
    let files = directory(&[("good.json", SADF)]);
    let json = gzip(SADF.as_bytes());
    std::fs::write(files.path().join("packed.json.gz"), &json).unwrap();
    std::fs::write(files.path().join("cut.json.gz"), &json[..json.len() / 2]).unwrap();
    let trace = guessed(&files, Format::Sadf);
    assert_eq!((trace.instances.len(), trace.rows.bad), (1, 5));
}

const SADF: &str = r#"{"sysstat":{"hosts":[{"nodename":"s1","number-of-cpus":4,"statistics":[
    {"timestamp":{"date":"2026-11-25","time":"10:00:00","utc":1,"interval":300},
     "cpu-load":[{"cpu":"all","user":20.0,"idle":75.0,"iowait":5.0}],
     "memory":{"memfree":1048576,"avail":3145728,"memused":3145728}},
    {"timestamp":{"date":"2026-11-25","time":"10:05:00","utc":1},"cpu-load":[]},
    {"timestamp":{"date":"x","time":"y"},"cpu-load":[{"cpu":"all","idle":50.0}]}]}]}}"#;

#[test]
fn sadf_counts_neither_idle_time_nor_memory_that_could_be_given_back() {
    let files = directory(&[("s1.json", SADF), ("broken.json", "{\"sysstat\": 3}")]);
    let trace = guessed(&files, Format::Sadf);
    assert_eq!(seen(&trace), [is("s1", 4000, 4096, &[800])]);
    assert_eq!((trace.memory_peak(0), trace.rows.bad), (Some(1024), 3));
}

/// A day by a clock of 12 hours, processor then memory, a restart with other cores between.
const SAR_12: &str = "Linux 6.1.0-13-amd64 (s1) \t11/25/26 \t_x86_64_\t(4 CPU)

11:50:01 AM     CPU     %user     %nice   %system   %iowait    %steal     %idle
12:00:01 PM     all     20.00      0.00      5.00      5.00      0.00     70.00
12:05:01 PM     all     20.00      0.00      x         5.00      0.00
Average:        all     20.00      0.00      5.00      5.00      0.00     70.00

12:07:11 PM       LINUX RESTART\t(2 CPU)

12:10:01 PM     CPU     %user     %nice   %system   %iowait    %steal     %idle
12:10:01 PM       0     99.00      0.00      0.00      0.00      0.00      1.00
12:10:01 PM     all     50.00      0.00      0.00      0.00      0.00     50.00
13:15:01 PM     all     50.00      0.00      0.00      0.00      0.00     50.00
11:59:59 PM     all     50.00      0.00      0.00      0.00      0.00     50.00
12:00:01 AM     all    100.00      0.00      0.00      0.00      0.00      0.00
Average:        all     66.67      0.00      0.00      0.00      0.00     33.33

11:50:01 AM kbmemfree   kbavail kbmemused  %memused kbbuffers  kbcached  kbcommit   %commit
12:00:01 PM   1048576   3145728   2097152     50.00      1000      1000      1000      1.00
Average:      1048576   3145728   2097152     50.00      1000      1000      1000      1.00
";

#[test]
fn what_sar_prints_is_read_by_a_clock_of_twelve_hours_and_across_a_restart() {
    let files = directory(&[("sar25", SAR_12)]);
    let trace = guessed(&files, Format::Sar);
    let held = trace.cpu.held(0).collect::<Vec<_>>();
    // Noon is a quarter of 4 cores; after the restart there are 2, half and then all of them busy.
    assert_eq!((held[0], held[2], held[143], held[144]), (1000, 1000, 1000, 2000));
    assert_eq!((held.len(), trace.steps()), (145, 145));
    assert_eq!((trace.instances[0].name.as_str(), trace.instances.len()), ("s1", 1));
    assert_eq!(trace.instances[0].cpu_request.get(), 4000);
    // 2 GiB are half of it all, of which the kernel could give away 3.
    assert_eq!((trace.memory_peak(0), trace.instances[0].memory_request.get()), (Some(1024), 4096));
    assert_eq!((trace.rows.read, trace.rows.bad), (7, 2));
}

#[test]
fn what_sar_prints_is_read_by_a_clock_of_24_hours_in_turns_and_past_midnight() {
    let head = "Linux 6.18.44 (s2) \t2026-11-25 \t_x86_64_\t(2 CPU)\n\n";
    let turn = |time: &str, idle: f64| {
        format!(
            "23:50:00        CPU     %user     %nice   %system   %iowait    %steal     %idle\n\
             {time}        all      0.00      0.00      0.00      0.00      0.00     {idle}\n\n\
             23:50:00    kbmemfree kbmemused  %memused\n{time}      1048576   1048576     50.00\n\n"
        )
    };
    let text = [head, &turn("23:55:00", 50.0), &turn("00:00:00", 0.0), "rubbish\n"].concat();
    let files = directory(&[]);
    std::fs::write(files.path().join("s2.txt.gz"), gzip(text.as_bytes())).unwrap();
    let trace = guessed(&files, Format::Sar);
    assert_eq!(seen(&trace), [is("s2", 2000, 2048, &[1000, 2000])]);
    assert_eq!((trace.memory_peak(0), trace.rows.bad), (Some(1024), 1));
    let lone = trace::read(&files.path().join("s2.txt.gz"), None).expect("it is seen what it is");
    assert_eq!(lone.cpu, trace.cpu);
}

#[test]
fn sadf_of_today_counts_caches_apart_and_still_gives_the_whole_memory() {
    let one = r#"{"sysstat":{"hosts":[{"nodename":"s1","number-of-cpus":2,"statistics":[
        {"timestamp":{"date":"2026-11-26","time":"02:21:38","utc":1,"interval":1},
         "cpu-load":[{"cpu":"all","user":0.5,"nice":92.57,"system":6.93,"iowait":0.0,"idle":0.0}],
         "memory":{"memfree":4842456,"avail":20971520,"memused":2097152,"memused-percent":8.0,
          "buffers":93612,"cached":17053584}}]}]}}"#;
    let trace = guessed(&directory(&[("s1.json", one)]), Format::Sadf);
    // 2 GiB are 8 % of 25 GiB, of which the kernel could give away all but 5.
    assert_eq!(seen(&trace), [is("s1", 2000, 25_600, &[2000])]);
    assert_eq!((trace.memory_peak(0), trace.rows.bad), (Some(5120), 0));
}

#[test]
fn prometheus_answers_are_joined_by_their_labels() {
    let answer = |values: &str| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":
            {{"instance":"s1","department":"tax"}},"values":[{values}]}}]}}}}"#
        )
    };
    let cpu = answer(r#"[1700000100,"0.5"],[1700000400,"NaN"],[1700000700,"1.5"]"#);
    let files = directory(&[
        ("cpu.json", cpu.as_str()),
        ("memory.json", &answer(r#"[1700000100,"1073741824"]"#)),
        ("cpu_request.json", &answer(r#"[1700000100,"8"]"#)),
    ]);
    let trace = guessed(&files, Format::Prometheus);
    assert_eq!(seen(&trace), [is("s1", 8000, 1024, &[500, 500, 1500])]);
    assert_eq!((trace.instances[0].group.as_str(), trace.rows.bad), ("tax", 1));
}

#[test]
fn plain_csv_says_which_column_is_missing() {
    let files = directory(&[(
        "use.csv",
        "id,t_s,cpu_millicores,mem_mib,group,cpu_request_millicores\n\
         a,0,100,10,tax,1000\na,300,-5,10,tax,1000\nb,0,7,,,\n,,,\n\"c\",1e99,3,,,\n",
    )]);
    let trace = guessed(&files, Format::Csv);
    let wanted = [is("a", 1000, 10, &[100]), is("b", 7, 0, &[7]), is("c", 1, 0, &[0])];
    assert_eq!(seen(&trace), wanted);
    assert_eq!(trace.rows.bad, 3);
    let files = directory(&[("use.csv", "id,t_s\na,0\n")]);
    let error = trace::read(files.path(), None).unwrap_err().to_string();
    assert!(error.contains("cpu_millicores"), "{error}");
}

#[test]
fn nothing_hostile_gets_far() {
    let long = "9".repeat(200_000);
    let deep = "[".repeat(100_000);
    let odd = ["", "\0\0\0", "\u{feff}id,t_s", "NaN\ninf\n-1\n", &long, &deep, "a;b;c\n;;;\n"];
    for content in odd {
        for name in ["1.csv", "s.json", "cpu.json", "plain", "vm_cpu_readings.csv"] {
            let files = directory(&[(name, content)]);
            for (_, format) in Format::ALL {
                if let Ok(trace) = format.read(files.path()) {
                    assert!(trace.steps() <= 1 << 20, "{name}: {content:.20}");
                }
            }
        }
    }
}

#[test]
fn a_moment_far_away_does_not_stretch_a_trace_without_bound() {
    let files = directory(&[("use.csv", "id,t_s,cpu_millicores\na,0,1\na,900000000000,1\n")]);
    let error = trace::read(files.path(), None).unwrap_err();
    assert!(matches!(error, TraceError::TooLarge { .. }), "{error}");
}

#[test]
fn what_is_not_there_is_said() {
    let error = trace::read(Path::new("/no/such/place"), None).unwrap_err().to_string();
    assert!(error.contains("nothing of this name"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = trace::read(empty.path(), None).unwrap_err().to_string();
    assert!(error.contains("name one of parquet, planetlab"), "{error}");
}
