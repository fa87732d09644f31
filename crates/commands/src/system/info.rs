//! `info`.

use client::Request;
use serde_json::{Value, json};

use super::version::client_part;
use crate::cli::{Args, Command, Parsed, document_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::template::Template;

/// Table of `info`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["system info", "info"],
    usage: "[OPTIONS]",
    about: "Display system-wide information",
    flags: &[document_format('f')],
    args: Args::None,
    interspersed: true,
    run,
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let format = parsed.str("format");
    if !matches!(format, "" | "json") {
        Template::parse(format).map_err(|why| Failure::code(64, format!("template parsing error: {why}")))?;
    }
    let server = context
        .client()
        .and_then(|client| client.send(Request::get("/info")).map_err(Failure::from))
        .and_then(|response| response.bytes(64 << 20).map_err(Failure::from));
    if format.is_empty() {
        return page(context, server);
    }
    let mut ours = client_part();
    ours.insert("Debug".to_owned(), context.globals.debug.into());
    ours.insert("Plugins".to_owned(), serde_json::to_value(crate::extension::list(context)).unwrap_or_default());
    ours.insert("Warnings".to_owned(), Value::Null);
    let (body, problem) = match server {
        Ok(body) => (serde_json::from_slice::<Value>(&body).unwrap_or_else(|_| json!({})), None),
        Err(failure) => (json!({}), Some(failure)),
    };
    let mut document = body;
    document["ClientInfo"] = ours.into();
    if let Some(failure) = &problem {
        document["ServerErrors"] = json!([failure.text]);
    }
    let text = super::through_template(format, &document)?;
    crate::out::line(&text)?;
    problem.map_or(Ok(()), Err)
}

fn page(context: &Context, server: Outcome<Vec<u8>>) -> Outcome {
    let ours = client_part();
    let word = |key: &str| ours.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    crate::out::text(&format!(
        "Client:\n Version:    {}\n Context:    {}\n Debug Mode: {}\n\nServer:\n",
        word("Version"),
        word("Context"),
        context.globals.debug
    ))?;
    let info: Value = match server {
        Ok(body) => serde_json::from_slice(&body).map_err(|e| Failure::new(e.to_string()))?,
        Err(failure) if failure.text.starts_with("Error response") => {
            crate::out::warn(&format!("ERROR: {}", failure.text));
            return Err(Failure::new("errors pretty printing info"));
        }
        Err(failure) => return Err(failure),
    };
    crate::out::text(&server_text(&info, context.globals.debug))?;
    for warning in strings(&info["Warnings"]) {
        crate::out::warn(warning);
    }
    Ok(())
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn server_text(info: &Value, debug: bool) -> String {
    let mut out = String::new();
    let text = |value: &Value| match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut always = |label: &str, value: &Value| out.push_str(&format!("{label} {}\n", text(value)));
    always(" Containers:", &info["Containers"]);
    always("  Running:", &info["ContainersRunning"]);
    always("  Paused:", &info["ContainersPaused"]);
    always("  Stopped:", &info["ContainersStopped"]);
    always(" Images:", &info["Images"]);
    let some = |out: &mut String, label: &str, key: &str| {
        let value = text(&info[key]);
        if !value.is_empty() {
            out.push_str(&format!("{label} {value}\n"));
        }
    };
    some(&mut out, " Server Version:", "ServerVersion");
    some(&mut out, " Storage Driver:", "Driver");
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        out.push_str(&format!("  {}: {}\n", text(&pair[0]), text(&pair[1])));
    }
    some(&mut out, " Logging Driver:", "LoggingDriver");
    let limits = text(&info["Hoist"]["LogLimits"]);
    if !limits.is_empty() {
        out.push_str(&format!("  Limits: {limits}\n"));
    }
    some(&mut out, " Cgroup Driver:", "CgroupDriver");
    some(&mut out, " Cgroup Version:", "CgroupVersion");
    out.push_str(" Plugins:\n");
    for kind in ["Volume", "Network", "Authorization", "Log"] {
        let names = strings(&info["Plugins"][kind]);
        if kind != "Authorization" || !names.is_empty() {
            out.push_str(&format!("  {kind}: {}\n", names.join(" ")));
        }
    }
    let list = |out: &mut String, title: &str, items: Vec<&str>| {
        if !items.is_empty() {
            out.push_str(&format!(" {title}:\n"));
            for item in items {
                out.push_str(&format!("  {item}\n"));
            }
        }
    };
    list(&mut out, "CDI spec directories", strings(&info["CDISpecDirs"]));
    out.push_str(&format!(" Swarm: {}\n", text(&info["Swarm"]["LocalNodeState"])));
    if let Some(runtimes) = info["Runtimes"].as_object().filter(|r| !r.is_empty()) {
        let names: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        out.push_str(&format!(" Runtimes: {}\n Default Runtime: {}\n", names.join(" "), text(&info["DefaultRuntime"])));
    }
    if info["OSType"] == "linux" {
        out.push_str(&format!(" Init Binary: {}\n", text(&info["InitBinary"])));
        for (label, key) in [("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit")] {
            out.push_str(&format!(" {label} version: {}\n", text(&info[key]["ID"])));
        }
        let options = strings(&info["SecurityOptions"]);
        if !options.is_empty() {
            out.push_str(" Security Options:\n");
            for option in options {
                security_option(option, &mut out);
            }
        }
    }
    some(&mut out, " Kernel Version:", "KernelVersion");
    some(&mut out, " Operating System:", "OperatingSystem");
    some(&mut out, " OSType:", "OSType");
    some(&mut out, " Architecture:", "Architecture");
    out.push_str(&format!(" CPUs: {}\n", text(&info["NCPU"])));
    out.push_str(&format!(" Total Memory: {}\n", human::binary_size(info["MemTotal"].as_f64().unwrap_or(0.0))));
    some(&mut out, " Name:", "Name");
    some(&mut out, " ID:", "ID");
    out.push_str(&format!(
        " Docker Root Dir: {}\n Debug Mode: {}\n",
        text(&info["DockerRootDir"]),
        text(&info["Debug"])
    ));
    if info["Debug"] == true || debug {
        for (label, key) in [
            ("File Descriptors", "NFd"),
            ("Goroutines", "NGoroutines"),
            ("System Time", "SystemTime"),
            ("EventsListeners", "NEventsListener"),
        ] {
            out.push_str(&format!("  {label}: {}\n", text(&info[key])));
        }
    }
    some(&mut out, " HTTP Proxy:", "HttpProxy");
    some(&mut out, " HTTPS Proxy:", "HttpsProxy");
    some(&mut out, " No Proxy:", "NoProxy");
    list(&mut out, "Labels", strings(&info["Labels"]));
    out.push_str(&format!(" Experimental: {}\n", text(&info["ExperimentalBuild"])));
    let registry = &info["RegistryConfig"];
    let mut insecure: Vec<&str> = registry["IndexConfigs"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, config)| config["Secure"] == false)
        .map(|(name, _)| name.as_str())
        .collect();
    insecure.extend(strings(&registry["InsecureRegistryCIDRs"]));
    list(&mut out, "Insecure Registries", insecure);
    list(&mut out, "Registry Mirrors", strings(&registry["Mirrors"]));
    out.push_str(&format!(" Live Restore Enabled: {}\n", text(&info["LiveRestoreEnabled"])));
    some(&mut out, " Product License:", "ProductLicense");
    let pools: Vec<&Value> = info["DefaultAddressPools"].as_array().into_iter().flatten().collect();
    if !pools.is_empty() {
        out.push_str(" Default Address Pools:\n");
        for pool in pools {
            out.push_str(&format!("   Base: {}, Size: {}\n", text(&pool["Base"]), text(&pool["Size"])));
        }
    }
    // As Docker's own client of release 29 has it.
    let firewall = &info["FirewallBackend"];
    if let Some(driver) = firewall["Driver"].as_str() {
        out.push_str(&format!(" Firewall Backend: {driver}\n"));
        for pair in firewall["Info"].as_array().into_iter().flatten() {
            out.push_str(&format!("  {}: {}\n", text(&pair[0]), text(&pair[1])));
        }
    }
    out.push('\n');
    out
}

/// `name=seccomp,profile=builtin` as a title and its profile.
fn security_option(option: &str, out: &mut String) {
    let mut name = option;
    let mut profiles = String::new();
    for pair in option.split(',') {
        match pair.split_once('=') {
            Some(("name", value)) => name = value,
            Some(("profile", value)) => profiles.push_str(&format!("   Profile: {value}\n")),
            _ => {}
        }
    }
    out.push_str(&format!("  {name}\n{profiles}"));
}
