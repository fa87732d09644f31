//! `plugin`: plugins that a daemon manages. hoistd has none and says so; what can be asked of a dockerd is asked.

use std::rc::Rc;

use client::{Request, path_escape};
use serde::Deserialize;

use crate::cli::{Args, Command, Flag, Kind, Parsed, document_format, flag, table_format};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::format::{self, Listing, list};
use crate::options::filters;
use crate::template::{Row, Value};

const PERMISSIONS: Flag =
    flag("grant-all-permissions", '\0', Kind::Bool(false), "Grant all permissions necessary to run the plugin");

const TRUST: Flag = flag("disable-content-trust", '\0', Kind::Bool(true), "Skip image verification (default true)");

/// All verbs.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        spellings: &["plugin create"],
        usage: "[OPTIONS] PLUGIN PLUGIN-DATA-DIR",
        about: "Create a plugin from a rootfs and configuration. Plugin data directory must contain config.json and rootfs directory.",
        flags: &[flag("compress", '\0', Kind::Bool(false), "Compress the context using gzip")],
        args: Args::Exactly(2),
        interspersed: true,
        run: beyond,
    },
    Command {
        spellings: &["plugin disable"],
        usage: "[OPTIONS] PLUGIN",
        about: "Disable a plugin",
        flags: &[flag("force", 'f', Kind::Bool(false), "Force the disable of an active plugin")],
        args: Args::Exactly(1),
        interspersed: true,
        run: |context, parsed| {
            let force = parsed.bool("force");
            act(context, &parsed.args[0], |path| Request::post(format!("{path}/disable")).query_if("force", force))
        },
    },
    Command {
        spellings: &["plugin enable"],
        usage: "[OPTIONS] PLUGIN",
        about: "Enable a plugin",
        flags: &[flag("timeout", '\0', Kind::Int(30), "HTTP client timeout (in seconds) (default 30)")],
        args: Args::Exactly(1),
        interspersed: true,
        run: |context, parsed| {
            let seconds = parsed.int("timeout");
            if seconds < 0 {
                return Err(Failure::new(format!("negative timeout {seconds} is invalid")));
            }
            act(context, &parsed.args[0], |path| {
                Request::post(format!("{path}/enable")).query("timeout", seconds.to_string())
            })
        },
    },
    Command {
        spellings: &["plugin inspect"],
        usage: "[OPTIONS] PLUGIN [PLUGIN...]",
        about: "Display detailed information on one or more plugins",
        flags: &[document_format('f')],
        args: Args::AtLeast(1),
        interspersed: true,
        run: |context, parsed| {
            crate::inspect::show(parsed, |name| {
                Ok(context.client()?.send(Request::get(format!("{}/json", place(name))))?.bytes(64 << 20)?)
            })
        },
    },
    Command {
        spellings: &["plugin install"],
        usage: "[OPTIONS] PLUGIN [KEY=VALUE...]",
        about: "Install a plugin",
        flags: &[
            flag("alias", '\0', Kind::Str(""), "Local name for plugin"),
            flag("disable", '\0', Kind::Bool(false), "Do not enable the plugin on install"),
            TRUST,
            PERMISSIONS,
        ],
        args: Args::AtLeast(1),
        interspersed: true,
        run: beyond,
    },
    Command {
        spellings: &["plugin ls", "plugin list"],
        usage: "[OPTIONS]",
        about: "List plugins",
        flags: &[
            flag("filter", 'f', Kind::FILTER, "Provide filter values (e.g. \"enabled=true\")"),
            table_format('\0'),
            flag("no-trunc", '\0', Kind::Bool(false), "Don't truncate output"),
            flag("quiet", 'q', Kind::Bool(false), "Only display plugin IDs"),
        ],
        args: Args::None,
        interspersed: true,
        run: show,
    },
    Command {
        spellings: &["plugin push"],
        usage: "[OPTIONS] PLUGIN[:TAG]",
        about: "Push a plugin to a registry",
        flags: &[flag("disable-content-trust", '\0', Kind::Bool(true), "Skip image signing (default true)")],
        args: Args::Exactly(1),
        interspersed: true,
        run: beyond,
    },
    Command {
        spellings: &["plugin rm", "plugin remove"],
        usage: "[OPTIONS] PLUGIN [PLUGIN...]",
        about: "Remove one or more plugins",
        flags: &[flag("force", 'f', Kind::Bool(false), "Force the removal of an active plugin")],
        args: Args::AtLeast(1),
        interspersed: true,
        run: |context, parsed| {
            let client = context.client()?;
            crate::each::name(&parsed.args, |name| {
                let request = Request::delete(place(name)).query_if("force", parsed.bool("force"));
                Ok(client.another().send(request)?.discard()?)
            })
        },
    },
    Command {
        spellings: &["plugin set"],
        usage: "PLUGIN KEY=VALUE [KEY=VALUE...]",
        about: "Change settings for a plugin",
        flags: &[],
        args: Args::AtLeast(2),
        interspersed: true,
        run: |context, parsed| {
            let request = Request::post(format!("{}/set", place(&parsed.args[0]))).json(&&parsed.args[1..]);
            Ok(context.client()?.send(request)?.discard()?)
        },
    },
    Command {
        spellings: &["plugin upgrade"],
        usage: "[OPTIONS] PLUGIN [REMOTE]",
        about: "Upgrade an existing plugin",
        flags: &[
            TRUST,
            PERMISSIONS,
            flag(
                "skip-remote-check",
                '\0',
                Kind::Bool(false),
                "Do not check if specified remote plugin matches existing plugin image",
            ),
        ],
        args: Args::Between(1, 2),
        interspersed: true,
        run: beyond,
    },
];

fn place(name: &str) -> String {
    format!("/plugins/{}", path_escape(name))
}

/// Plugins are built and moved by Docker's own tools alone.
fn beyond(context: &Context, parsed: &Parsed) -> Outcome {
    Err(Failure::new(format!("{}: '{}' is not supported: hoist has no managed plugins", context.program, parsed.path)))
}

fn act(context: &Context, name: &str, request: impl FnOnce(String) -> Request<'static>) -> Outcome {
    context.client()?.send(request(place(name)))?.discard()?;
    crate::out::line(name)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Plugin {
    id: String,
    name: String,
    enabled: bool,
    plugin_reference: String,
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    description: String,
}

struct Line {
    plugin: Plugin,
    whole: bool,
}

impl Row for Line {
    fn column(&self, name: &str) -> Option<Value> {
        let plugin = &self.plugin;
        Some(Value::text(match name {
            "ID" if self.whole => plugin.id.clone(),
            "ID" => crate::human::short_id(&plugin.id).to_owned(),
            "Name" => plugin.name.clone(),
            "Description" if self.whole => plugin.config.description.replace(['\n', '\r'], " "),
            "Description" => crate::human::ellipsis(&plugin.config.description.replace(['\n', '\r'], " "), 45),
            "PluginReference" => plugin.plugin_reference.clone(),
            "Enabled" => return Some(Value::Bool(plugin.enabled)),
            _ => return None,
        }))
    }

    fn columns(&self) -> &[&'static str] {
        &["Description", "Enabled", "ID", "Name", "PluginReference"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.pluginContext"
    }
}

const LISTING: Listing = Listing {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("Enabled", "ENABLED"),
        ("PluginReference", "PluginReference"),
    ],
};

fn show(context: &Context, parsed: &Parsed) -> Outcome {
    let quiet = parsed.bool("quiet");
    let text = match list::choose(parsed.str("format"), &context.config().plugins_format, quiet) {
        "table" if quiet => "{{.ID}}",
        "table" => "table {{.ID}}\\t{{.Name}}\\t{{.Description}}\\t{{.Enabled}}",
        custom => custom,
    };
    let request = Request::get("/plugins").query_some("filters", filters::encode(parsed.list("filter")));
    let plugins: Option<Vec<Plugin>> = context.client()?.send(request)?.json()?;
    let mut plugins = plugins.unwrap_or_default();
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    let whole = parsed.bool("no-trunc");
    let rows = plugins.into_iter().map(|plugin| Rc::new(Line { plugin, whole }) as Rc<dyn Row>);
    format::write(&LISTING, text, rows)
}
