//! Making a network: plan, reserve its name and subnets, then bridge and table; undone when a step fails.

use super::{Network, Networks, Shared, bridge, children, lock, peers, table_bridge};
use crate::address::IpNet;
use crate::config::{BridgeRecord, Driver, NetworkRecord, Subnet};
use crate::definition::{self, NetworkConfig};
use crate::error::{Error, Result};
use crate::options::{self, GatewayMode};
use crate::overlay;
use crate::subnet::{self, Survey};

/// Hexadecimal digits of the network's id in the name of its bridge, as Docker has it.
const DIGITS: usize = 12;

/// The least MTU of IPv6 (RFC 8200, 5): the kernel has none on a link with less.
const IPV6_MTU: u32 = 1280;

impl Networks {
    /// Makes a network. `commit` is called with its record while the name and the subnets are reserved, before anything is
    /// in the kernel; what it refuses does not come about.
    pub fn create(
        &self,
        config: &NetworkConfig,
        commit: impl FnOnce(&NetworkRecord) -> Result<()>,
    ) -> Result<NetworkRecord> {
        let shared = &*self.shared;
        let mut record = NetworkRecord::new(&config.name, config.driver)?;
        config.labels.clone_into(&mut record.labels);
        config.options.clone_into(&mut record.options);
        config.ipam_options.clone_into(&mut record.ipam_options);
        (record.ipv4, record.ipv6) = (config.ipv4, config.ipv6);
        (record.internal, record.attachable) = (config.internal, config.attachable);
        record.config_only = config.config_only;
        record.config_from.clone_from(&config.config_from);
        record.subnets = definition::subnets(config)?;
        if config.config_only {
            // The options are those of whoever takes them over: checked now, used then.
            if config.driver == Driver::Bridge {
                shared.plan_bridge(config, &record.id)?;
            }
            shared.insert(&record, &[])?;
        } else {
            match config.driver {
                Driver::Bridge => record.bridge = Some(shared.plan_bridge(config, &record.id)?),
                Driver::Overlay => shared.plan_overlay(config, &mut record)?,
                Driver::Macvlan | Driver::Ipvlan => shared.plan_child(config, &mut record)?,
                Driver::Host | Driver::Null => {}
            }
            if let Err(error) = shared.reserve(&mut record) {
                shared.bury_parent(&record);
                return Err(error);
            }
        }
        let outcome = commit(&record).and_then(|()| match record.bridge.is_some() {
            true => self.realise(&record),
            false => Ok(()),
        });
        if outcome.is_err() {
            shared.bury_parent(&record);
        }
        match outcome {
            Ok(()) => Ok(record),
            Err(error) => {
                lock(&shared.state).networks.remove(&record.id);
                Err(error)
            }
        }
    }

    /// Puts a reserved network's bridge and table elements into the kernel.
    fn realise(&self, record: &NetworkRecord) -> Result<()> {
        let shared = &*self.shared;
        if record.ipv6 {
            shared.forward_ipv6()?;
        }
        let link = record.bridge.as_ref().map(|bridge| bridge.link.clone()).unwrap_or_default();
        shared.graveyard.wait_for(&link);
        let index = shared.sockets.with(|socket| bridge::ensure(socket, &shared.config, record))??;
        if let Err(error) = shared.sockets.with(|socket| peers::ensure(socket, &shared.config, record, index))? {
            shared.bury(record);
            return Err(error);
        }
        if let Some(network) = lock(&shared.state).networks.get_mut(&record.id) {
            network.bridge = Some(index);
        }
        let told = table_bridge(record).map_or(Ok(()), |bridge| shared.add_bridge(&bridge));
        match told {
            Ok(()) => Ok(()),
            // Containers on it will not start where they need the table; the daemon goes on without it too.
            Err(Error::NftablesUnavailable { .. }) => Ok(()),
            Err(error) => {
                shared.bury(record);
                Err(error)
            }
        }
    }
}

impl Shared {
    /// The bridge that the options ask for.
    fn plan_bridge(&self, config: &NetworkConfig, id: &str) -> Result<BridgeRecord> {
        let mtu = self.sockets.with(|socket| bridge::default_mtu(socket, &self.config))??;
        let default = BridgeRecord {
            link: format!("br-{}", &id[..DIGITS]),
            mtu,
            icc: true,
            masquerade: true,
            masquerade_v6: true,
            host_binding: None,
            inhibit_ipv4: false,
            gateway_mode_v4: GatewayMode::Nat,
            gateway_mode_v6: GatewayMode::Nat,
            trusted: Vec::new(),
            interface_prefix: String::new(),
        };
        let bridge = options::bridge(&config.options, config.internal, default)?;
        if config.ipv6 && bridge.mtu < IPV6_MTU {
            return Err(Error::InvalidOption {
                option: options::MTU.to_owned(),
                value: bridge.mtu.to_string(),
                reason: "a network with IPv6 needs at least 1280",
            });
        }
        Ok(bridge)
    }

    /// The bridge that the options ask for, and its way to the peers.
    fn plan_overlay(&self, config: &NetworkConfig, record: &mut NetworkRecord) -> Result<()> {
        let link = format!("vx-{}", &record.id[..DIGITS]);
        let (overlay, left) = overlay::options(&config.name, link, &config.options)?;
        let split = |subnet: &Subnet| subnet.given && subnet.range.is_some();
        if record.subnets.is_empty() || !record.subnets.iter().all(split) {
            return Err(Error::OverlayRange);
        }
        let mut bridge = self.plan_bridge(&NetworkConfig { options: left.clone(), ..config.clone() }, &record.id)?;
        if !left.contains_key(options::MTU) && !left.contains_key("mtu") {
            bridge.mtu = overlay.mtu(bridge.mtu);
        }
        self.sockets.with(|socket| children::check_kind(socket, "overlay", "vxlan", "CONFIG_VXLAN"))??;
        (record.bridge, record.overlay) = (Some(bridge), Some(overlay));
        Ok(())
    }

    /// The parent of the containers' interfaces, which is there when this returns.
    fn plan_child(&self, config: &NetworkConfig, record: &mut NetworkRecord) -> Result<()> {
        let kind = if config.driver == Driver::Macvlan { "dm" } else { "di" };
        let own = format!("{kind}-{}", &record.id[..DIGITS]);
        let child = crate::child::options(config.driver, &config.options, &own)?;
        // A network on nothing leads nowhere.
        record.internal |= child.made;
        let others = lock(&self.state);
        let taken = others
            .networks
            .values()
            .find(|other| other.record.child.as_ref().is_some_and(|other| other.parent == child.parent));
        if let Some(other) = taken {
            return Err(Error::ParentTaken { parent: child.parent, other: other.record.name.clone() });
        }
        drop(others);
        record.child = Some(child);
        record.child = Some(self.sockets.with(|socket| children::ensure_parent(socket, &self.config, record))??);
        Ok(())
    }

    /// Chooses the subnets that nobody gave, and reserves name, link and subnets: from here on nobody else gets them.
    fn reserve(&self, record: &mut NetworkRecord) -> Result<()> {
        let survey = self.sockets.with(Survey::take)??;
        // Children are in a network that the host knows: their subnet is its own.
        let hidden = record.subnets.iter().find(|subnet| survey.is_hidden_by(&subnet.net));
        if let Some(hidden) = hidden.filter(|_| record.child.is_none()) {
            return Err(Error::PoolOverlaps { subnet: hidden.net });
        }
        let given = record.subnets.clone();
        // Somebody else may reserve the same while we choose.
        loop {
            record.subnets.clone_from(&given);
            let taken: Vec<IpNet> = lock(&self.state).subnets();
            for ipv6 in [false, true] {
                let wanted = if ipv6 { record.ipv6 } else { record.ipv4 };
                if wanted && record.subnet(ipv6).is_none() {
                    let chosen = self.choose(&survey, &taken, ipv6)?;
                    record.subnets.push(Subnet::new(chosen));
                }
            }
            for subnet in &mut record.subnets {
                subnet.choose_gateway();
            }
            let chosen: Vec<IpNet> =
                record.subnets.iter().filter(|subnet| !subnet.given).map(|subnet| subnet.net).collect();
            match self.insert(record, &chosen) {
                Err(Error::PoolOverlaps { subnet }) if chosen.contains(&subnet) => {}
                outcome => return outcome,
            }
        }
    }

    fn choose(&self, survey: &Survey, taken: &[IpNet], ipv6: bool) -> Result<IpNet> {
        match survey.free(&self.config.pools, ipv6, 0, taken).next() {
            Some(subnet) => Ok(subnet),
            None if ipv6 => subnet::unique_local(),
            None => Err(Error::NoFreeSubnet),
        }
    }

    /// Takes the network up, unless its name, link or one of its subnets is taken.
    fn insert(&self, record: &NetworkRecord, _chosen: &[IpNet]) -> Result<()> {
        let mut state = lock(&self.state);
        for other in state.networks.values().map(|network| &network.record) {
            if other.name == record.name {
                return Err(Error::NameTaken { name: record.name.clone() });
            }
            if let (Some(ours), Some(theirs)) = (&record.bridge, &other.bridge)
                && ours.link == theirs.link
            {
                return Err(Error::BridgeTaken {
                    name: record.name.clone(),
                    link: ours.link.clone(),
                    other: other.name.clone(),
                });
            }
            if record.config_only || other.config_only {
                continue;
            }
            let clash = record.subnets.iter().find(|s| other.subnets.iter().any(|o| o.net.overlaps(&s.net)));
            if let Some(clash) = clash {
                return Err(Error::PoolOverlaps { subnet: clash.net });
            }
        }
        state.networks.insert(record.id.clone(), Network::new(record.clone(), None));
        Ok(())
    }
}

impl super::State {
    fn subnets(&self) -> Vec<IpNet> {
        let records = self.networks.values().map(|network| &network.record).filter(|record| !record.config_only);
        records.flat_map(|record| &record.subnets).map(|subnet| subnet.net).collect()
    }
}

impl Subnet {
    /// The first address that is not set aside, where no gateway was given.
    fn choose_gateway(&mut self) {
        if self.gateway.is_some() {
            return;
        }
        let within = self.range.unwrap_or(self.net);
        let ends_count = self.net.prefix + 1 < self.net.width();
        let usable = |bits: &u128| {
            let address = self.net.at(*bits);
            let end = ends_count && (*bits == self.net.first() || (!self.net.is_ipv6() && *bits == self.net.last()));
            !end && !self.auxiliary.values().any(|other| *other == address)
        };
        self.gateway = (within.first()..=within.last()).find(usable).map(|bits| self.net.at(bits));
    }
}
