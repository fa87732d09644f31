//! How long `create`, `start`, `wait` and removal take in the engine itself: medians, without HTTP.
//!
//! `cargo run --release -p engine --example start_path -- target/release/hoist-runtime [none|bridge|host]`, as root.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::container::{self, Condition};
use engine::{Config, Engine};

const RUNS: usize = 100;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let runtime: PathBuf = arguments.next().expect("the path of hoist-runtime").into();
    let network = arguments.next().unwrap_or_else(|| "none".to_owned());
    sys::netns::unshare_network().expect("a network namespace of our own");
    let root = std::env::temp_dir().join(format!("hoist-start-path-{}", std::process::id()));
    let config = Config { data_root: root.join("data"), exec_root: root.join("exec"), runtime, ..Config::default() };
    let engine = Engine::open(config).unwrap_or_else(|error| panic!("{}", error.full_text()));
    let request = format!(r#"{{"Image":"hoist/hello","HostConfig":{{"AutoRemove":true,"NetworkMode":"{network}"}}}}"#);
    let request: api::container::CreateRequest = serde_json::from_str(&request).expect("a request");
    let mut times: [Vec<Duration>; 4] = Default::default();
    for run in 0..RUNS + 5 {
        let begin = Instant::now();
        let id = container::create(&engine, None, None, &request).unwrap_or_else(|e| panic!("{}", e.full_text())).id;
        let created = Instant::now();
        let removed = container::wait(&engine, &id, Condition::Removed).unwrap_or_else(|e| panic!("{}", e.full_text()));
        container::start(&engine, &id).unwrap_or_else(|error| panic!("{}", error.full_text()));
        let started = Instant::now();
        removed.recv();
        let end = Instant::now();
        if run >= 5 {
            let spans = [created - begin, started - created, end - started, end - begin];
            times.iter_mut().zip(spans).for_each(|(list, span)| list.push(span));
        }
    }
    for (name, list) in ["create", "start", "exit and removal", "all"].iter().zip(&mut times) {
        list.sort();
        println!("{name:18} {:8.3} ms", list[RUNS / 2].as_secs_f64() * 1000.0);
    }
    drop(engine);
    let _ = std::fs::remove_dir_all(&root);
}
