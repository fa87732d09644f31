//! Times of the raw API: without anybody's client.

use std::time::Instant;

use anyhow::{Context, Result};
use testkit::http::{Connection, Target};

use super::engine::{Engine, create_body};
use super::table::Table;

/// One container that runs `true`, for each network; one connection, kept open.
pub fn rounds(engines: &[Engine], table: &mut Table, rounds: usize) -> Result<()> {
    for round in 0..=rounds {
        for engine in engines {
            let Some(socket) = &engine.socket else { continue };
            let mut connection = Connection::open(&Target::Unix(socket.clone()))?;
            let begun = Instant::now();
            connection.request("GET", "/_ping", &[], None)?.success()?;
            if round > 0 {
                table.add("API _ping", &engine.name, "ms", begun.elapsed().as_secs_f64() * 1000.0);
            }
            for network in ["bridge", "none", "host"] {
                for (step, milliseconds) in one(&mut connection, &engine.image, network)? {
                    if round > 0 {
                        table.add(&format!("API {network}: {step}"), &engine.name, "ms", milliseconds);
                    }
                }
            }
        }
    }
    Ok(())
}

fn one(connection: &mut Connection, image: &str, network: &str) -> Result<Vec<(&'static str, f64)>> {
    let mut times = Vec::new();
    let all = Instant::now();
    let mut ask = |step: &'static str, method: &str, path: &str, body: Option<&[u8]>| {
        let begun = Instant::now();
        let headers: &[(&str, &str)] =
            if body.is_some_and(|body| !body.is_empty()) { &[("Content-Type", "application/json")] } else { &[] };
        let answer = connection.request(method, path, headers, body)?.success().context(step)?;
        times.push((step, begun.elapsed().as_secs_f64() * 1000.0));
        anyhow::Ok(answer)
    };
    let body = create_body(image, network).to_string();
    let created = ask("create", "POST", "/v1.41/containers/create", Some(body.as_bytes()))?.json()?;
    let id = created["Id"].as_str().context("no id")?.to_string();
    ask("start", "POST", &format!("/v1.41/containers/{id}/start"), Some(b""))?;
    ask("wait", "POST", &format!("/v1.41/containers/{id}/wait"), Some(b""))?;
    ask("remove", "DELETE", &format!("/v1.41/containers/{id}"), None)?;
    times.push(("all four", all.elapsed().as_secs_f64() * 1000.0));
    Ok(times)
}
