//! `help topics`: what belongs to no single command.

/// One page.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Begins with a line break, behind which blanks count.
    pub(crate) text: &'static str,
}

/// All pages, by name.
pub(crate) const TOPICS: &[Topic] = &[
    Topic {
        name: "contexts",
        about: "Several daemons, and how one is chosen",
        text: "
A context is the name of a daemon: an address and, for TLS, keys. It is made by

  hoist context create NAME --docker host=ADDRESS[,ca=FILE,cert=FILE,key=FILE]

and kept in ~/.docker/contexts, where the docker client finds it too. The daemon
that a command talks to is the first of these that is said:

  1. -H, --host ADDRESS
  2. -c, --context NAME
  3. HOIST_HOST, then DOCKER_HOST
  4. DOCKER_CONTEXT
  5. what `hoist context use NAME` has chosen
  6. unix:///run/hoist.sock

Addresses: unix:///PATH, tcp://HOST:PORT (plain, or TLS with --tls, --tlsverify),
ssh://[USER@]HOST[:PORT][/SOCKET]. For ssh the program ssh is run; at the other
end it starts `hoist system dial-stdio`, or docker's.
",
    },
    Topic {
        name: "configuration",
        about: "Keys of config.json that this client reads",
        text: "
~/.docker/config.json, or config.json of --config or DOCKER_CONFIG; the docker
client reads the same file.

  auths, credsStore, credHelpers    logins, and programs that keep them
  currentContext                    what `hoist context use` has chosen
  HttpHeaders                       sent with every request
  proxies                           variables of builds and of new containers
  detachKeys                        what leaves an attached container running
  psFormat, imagesFormat,           default of --format of the lists
  networksFormat, volumesFormat,
  pluginsFormat, statsFormat
  pruneFilters                      --filter of every prune
  cliPluginsExtraDirs               where else programs that add commands are
  plugins, features                 left to those programs

Keys for swarm (nodesFormat and the like), and aliases, have no effect.
",
    },
    Topic {
        name: "environment",
        about: "Variables that this client reads",
        text: "
  HOIST_HOST, DOCKER_HOST      address of the daemon
  DOCKER_CONTEXT               name of the context to use
  DOCKER_CONFIG                directory of config.json (default ~/.docker)
  DOCKER_TLS                   not empty: TLS without a look at the certificate
  DOCKER_TLS_VERIFY            not empty: TLS, and the daemon has to prove itself
  DOCKER_CERT_PATH             directory of ca.pem, cert.pem and key.pem
  DOCKER_API_VERSION           ask for this version of the API and no other
  DOCKER_DEFAULT_PLATFORM      default of --platform
  DOCKER_CUSTOM_HEADERS        name=value,… for every request
  DOCKER_HIDE_LEGACY_COMMANDS  not empty: help lists management commands only
  DOCKER_BUILDKIT              0: builds by the daemon's classic door
  BUILDKIT_PROGRESS            default of --progress of builds
  NO_COLOR                     not empty: no colours
  COLUMNS                      width of tables that fit the terminal
",
    },
    Topic {
        name: "exit-status",
        about: "What a command ends with",
        text: "
  0       all went well
  1       the daemon, or the command itself, says why not on standard error
  125     hoist run: the container was not started; anything: a wrong option
  126     hoist run: the program cannot be executed
  127     hoist run: there is no such program
  128+N   hoist run, exec, attach: the program was ended by signal N
  other   hoist run, exec, attach, wait: the program's own
",
    },
    Topic {
        name: "formatting",
        about: "Templates of --format",
        text: "
  --format json                   one JSON document per object
  --format table                  the default table
  --format 'table {{.ID}}\\t{{.Names}}'   a table with these columns
  --format '{{.ID}}: {{.Names}}'  each object through a Go template

Templates are those of Go's text/template: fields, pipelines, if, with, range,
variables, and the functions json, split, join, title, lower, upper, pad,
truncate, println besides Go's own. `hoist inspect` works on the whole document:

  hoist inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web
  hoist ps --format '{{.Names}}: {{.Label \"stage\"}}'

In lists --json is short for --format json.
",
    },
    Topic {
        name: "filters",
        about: "Conditions of --filter",
        text: "
  -f KEY=VALUE; several values of one key are alternatives, several keys all
  have to hold.

  hoist ps      ancestor before expose exited health id is-task label name
                network publish since status volume
  hoist images  before dangling label reference since until
  hoist volume ls    dangling driver label name
  hoist network ls   dangling driver id label name scope type
  hoist events  container daemon event image label network scope type volume
  hoist … prune      label until
",
    },
];

/// The page with this name.
pub(crate) fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// What `help topics` prints.
pub(crate) fn list(program: &str) -> String {
    let rows: String = TOPICS.iter().map(|topic| format!("  {:<14} {}\n", topic.name, topic.about)).collect();
    format!("Topics:\n{rows}\nRun '{program} help TOPIC' to read one.\n")
}
