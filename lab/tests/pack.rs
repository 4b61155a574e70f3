//! Packing in order: what fits is placed, devices are handed out whole or shared, and bad rows are said.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;
use tengyun_lab::pack::{PackFigures, pack};

fn packed(nodes: &str, instances: &str) -> Result<PackFigures, String> {
    let directory: TempDir = tempfile::tempdir().expect("a directory");
    let (n, i) = (directory.path().join("n.csv"), directory.path().join("i.csv"));
    std::fs::write(&n, format!("sn,cpu_milli,memory_mib,gpu,model\n{nodes}")).expect("a file");
    let head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n";
    std::fs::write(&i, format!("{head}{instances}")).expect("a file");
    let packed = pack(&n, &i, &BTreeMap::new()).map_err(|e| e.to_string())?;
    let mut figures = packed.figures;
    let rows = nodes.lines().count() + instances.lines().count();
    assert_eq!((packed.rows.read, packed.rows.bad), (u64::try_from(rows).expect("few"), 0));
    figures.seconds = 0.0;
    Ok(figures)
}

#[test]
fn nodes_are_filled_to_the_last_millicore_and_the_first_refusal_is_kept() {
    let figures = packed(
        "a,4000,8192,0,\nb,4000,8192,0,\n",
        "1,3000,1024,0,0,\n2,3000,1024,0,0,\n3,3000,1024,0,0,\n4,1000,1024,0,0,\n5,1000,1024,0,0,\n",
    );
    let wanted = PackFigures {
        cpu_first_refusal_pct: 75.0,
        cpu_final_pct: 100.0,
        gpu_final_pct: 0.0,
        placed: 4,
        seconds: 0.0,
    };
    assert_eq!(figures, Ok(wanted));
}

#[test]
fn a_device_is_shared_by_shares_and_never_cut_in_two() {
    // Two devices of which each has 600 left: 1200 together, and no room for 700.
    let figures = packed(
        "a,9000,8192,2,T4\n",
        "1,10,10,1,400,T4\n2,10,10,1,700,\n3,10,10,1,700,\n4,10,10,1,200,A100|T4\n5,10,10,1,1,P100\n",
    )
    .unwrap();
    assert_eq!(figures.placed, 3);
    assert!((figures.gpu_final_pct - 65.0).abs() < 1e-9, "{figures:?}");
}

#[test]
fn a_row_that_cannot_be_used_is_named() {
    let error = packed("a,4000,8192,0,\nb,x,1,0,\n", "").unwrap_err();
    assert!(error.contains("row 3 cannot be used"), "{error}");
    let long = format!("a,4000,8192,0,\n{},1,1,0,\n", "b".repeat(70_000));
    let error = packed(&long, "").unwrap_err();
    assert!(error.contains("row 3 cannot be used"), "{error}");
    assert!(pack(Path::new("/no/such"), Path::new("/no/such"), &BTreeMap::new()).is_err());
}
