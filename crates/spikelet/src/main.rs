//! The `spikelet` binary.
fn main() -> std::process::ExitCode {
    spikelet::cli::main()
}
