//! Compiles the protocol without `protoc` and writes the descriptor set for reflection.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["model", "agent", "operator", "identity", "journal", "secret", "backup"]
        .map(|f| format!("tengyun/v1/{f}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let services = descriptors.file.iter().flat_map(|file| {
        file.service
            .iter()
            .map(|service| (format!("{}.{}", file.package(), service.name()), service))
    });
    let calls: Vec<String> = services
        .flat_map(|(of, service)| {
            service.method.iter().map(move |method| format!("/{of}/{}", method.name()))
        })
        .collect();
    std::fs::write(out.join("calls.rs"), format!("&{calls:?}"))?;
    // Maps are ordered so that the same message always has the same bytes, and what holds a secret
    // has a form of being shown that does not show it.
    tonic_prost_build::configure()
        .btree_map(".")
        .skip_debug(["tengyun.v1.SecretValue"])
        .compile_fds(descriptors)?;
    Ok(())
}
