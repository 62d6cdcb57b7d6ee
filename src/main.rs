//! The binary: an allocator and the command line.

/// Fewer and cheaper trips to the kernel than the system's under many small, short-lived buffers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tollgate::cli::run()
}
