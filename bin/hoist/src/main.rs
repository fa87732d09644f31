//! The client: Docker's command line for hoistd. Called as `docker`, it answers under that name.

fn main() {
    sys::names::without_modules();
    std::process::exit(commands::main(std::env::args_os()));
}
