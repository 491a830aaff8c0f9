//! The `spikelet` binary.

use peak_alloc::PeakAlloc;

/// `spikelet bench` reports live bytes; counting costs two atomic additions an allocation.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn main() -> std::process::ExitCode {
    spikelet_kernels::memory::keep_freed_pages();
    spikelet::memory::install(spikelet::memory::Meter {
        live: || ALLOCATOR.current_usage(),
        peak: || ALLOCATOR.peak_usage(),
        reset_peak: || ALLOCATOR.reset_peak_usage(),
    });
    spikelet::cli::main()
}
