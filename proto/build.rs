//! Compiles the contract without protoc: protox parses, tonic-prost-build generates.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=darktower");
    let files = ["darktower/v1/signaling.proto", "darktower/v1/media.proto", "darktower/cluster/v1/cluster.proto"];
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        // Payloads of relays and certificate hashes are passed on without a copy.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
