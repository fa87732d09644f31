//! End-to-end tests: the real programs, as root, driven by `hoist` and by the unmodified `docker` client.
//!
//! A file per area; tests that stand for a promise of the walkthroughs are called after its row (`w05_port_forwarding`).
//! Run some of them with `cargo test -p e2e -- w05`; one client with `-- ::docker`.

/// A test of builds for each of the tools; what they show is in `buildkit.rs`.
macro_rules! by_both {
    ($($test:ident: $buildx:ident $hoist:ident),* $(,)?) => {$(
        fn $buildx(lab: &mut Lab) -> Result<()> {
            $test(lab, Tool::Buildx)
        }

        fn $hoist(lab: &mut Lab) -> Result<()> {
            $test(lab, Tool::Hoist)
        }
    )*};
}

mod applications;
mod apt;
mod as_run;
mod bad_builds;
mod bad_input;
mod book;
mod building;
mod buildkit;
mod caching;
mod cgroups;
mod check;
mod coexistence;
mod composing;
mod confinement;
mod daemons;
mod drivers;
mod events;
mod exec;
mod explain;
mod fields;
mod files;
mod firewalls;
mod first_steps;
mod forwarding;
mod full_disk;
mod health;
mod hostile_archives;
mod instructions;
mod interop;
mod journal;
mod layers;
mod lifecycle;
mod listing;
mod loading;
mod logs;
mod mount_forms;
mod mount_input;
mod mounts;
mod networking;
mod networks;
mod options;
mod peers;
mod ports;
mod product;
mod publishing;
mod recovery;
mod registry;
mod resolving;
mod runtimes;
mod service;
mod sharing;
mod sizes;
mod store;
mod storm;
mod streams;
mod stuck;
mod survival;
mod swapping;
mod terminal;
mod tomcat;
mod transfer_faults;
mod transfers;
mod versions;
mod volumes;

fn main() {
    std::process::exit(testkit::harness::main(&[
        first_steps::TESTS,
        first_steps::HOIST_TESTS,
        files::TESTS,
        listing::TESTS,
        ports::TESTS,
        product::TESTS,
        publishing::TESTS,
        publishing::HOIST_TESTS,
        events::TESTS,
        exec::TESTS,
        as_run::TESTS,
        explain::TESTS,
        fields::TESTS,
        terminal::TESTS,
        terminal::HOIST_TESTS,
        applications::TESTS,
        apt::TESTS,
        tomcat::TESTS,
        options::TESTS,
        options::HOIST_TESTS,
        volumes::TESTS,
        runtimes::TESTS,
        service::TESTS,
        mount_forms::TESTS,
        mount_input::TESTS,
        mount_input::HOIST_TESTS,
        full_disk::TESTS,
        mounts::TESTS,
        mounts::HOIST_TESTS,
        sizes::TESTS,
        sizes::HOIST_TESTS,
        swapping::TESTS,
        sharing::TESTS,
        sharing::HOIST_TESTS,
        lifecycle::TESTS,
        streams::TESTS,
        stuck::TESTS,
        stuck::HOIST_TESTS,
        layers::TESTS,
        store::TESTS,
        store::HOIST_TESTS,
        interop::TESTS,
        loading::TESTS,
        building::TESTS,
        book::HOIST_TESTS,
        buildkit::TESTS,
        caching::TESTS,
        instructions::TESTS,
        composing::TESTS,
        journal::TESTS,
        logs::TESTS,
        logs::HOIST_TESTS,
        confinement::TESTS,
        cgroups::TESTS,
        networking::TESTS,
        networks::TESTS,
        networks::HOIST_TESTS,
        drivers::TESTS,
        firewalls::TESTS,
        firewalls::HOIST_TESTS,
        peers::HOIST_TESTS,
        coexistence::TESTS,
        coexistence::HOIST_TESTS,
        forwarding::TESTS,
        forwarding::HOIST_TESTS,
        drivers::HOIST_TESTS,
        resolving::TESTS,
        bad_builds::TESTS,
        bad_input::TESTS,
        health::TESTS,
        hostile_archives::TESTS,
        transfer_faults::TESTS,
        transfers::TESTS,
        survival::TESTS,
        versions::TESTS,
        recovery::TESTS,
        recovery::HOIST_TESTS,
        storm::TESTS,
        survival::HOIST_TESTS,
        daemons::TESTS,
        registry::TESTS,
        registry::HOIST_TESTS,
    ]));
}
