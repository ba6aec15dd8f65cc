//! The `weave` program: everything happens in the library, chosen by name or first word.

fn main() -> std::process::ExitCode {
    weave_bin::args::run(std::env::args_os())
}
