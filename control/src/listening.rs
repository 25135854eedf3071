//! What the shards' sockets mean for the statuses of Gateways.
//!
//! Translation says that a listener is programmed once its epoch is installed; whether its port could
//! be had is known only to the shards. Called when a status is shown, on the admin page or to the writer
//! of statuses. Invariant: a listener is
//! `Programmed` only while every shard that reports its socket listens there.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::Name;
use crate::state::State;
use crate::translate::status::{
    Condition, ConditionStatus, ConditionType, GatewayStatus, ListenerStatus, Reason, Statuses,
};

/// Why a listener does not listen.
struct Fault {
    why: String,
    /// It asked for one address, not for any.
    names_address: bool,
    /// The addresses it asked for that the host does not have.
    absent: Vec<IpAddr>,
}

/// How the kernel says that an address is not the host's.
const ABSENT: &str = "Cannot assign requested address";

/// All statuses as installed, corrected by what does not listen.
pub(crate) fn corrected(state: &State) -> Arc<Statuses> {
    if state.shards.iter().flat_map(|shard| &shard.listeners).all(|one| one.error.is_none()) {
        return Arc::clone(&state.statuses);
    }
    Arc::new(Statuses { gateways: gateways(state), ..Statuses::clone(&state.statuses) })
}

/// The statuses of all Gateways as installed, corrected by what does not listen.
pub(crate) fn gateways(state: &State) -> BTreeMap<Name, GatewayStatus> {
    let mut gateways = state.statuses.gateways.clone();
    let faults = faults(state);
    if faults.is_empty() {
        return gateways;
    }
    for (name, gateway) in &mut gateways {
        let (mut lost, mut absent) = (Vec::new(), Vec::<&IpAddr>::new());
        let mut reason = Reason::Invalid;
        for listener in &mut gateway.listeners {
            if let Some(fault) = faults.get(format!("{name}/{}", listener.name).as_str()) {
                fail(&mut listener.conditions, Reason::Invalid, &fault.why);
                if fault.names_address {
                    reason = Reason::AddressNotUsable;
                }
                lost.push(listener.name.to_string());
                absent.extend(&fault.absent);
            }
        }
        if !lost.is_empty() && !gateway.listeners.iter().any(is_programmed) {
            let why = format!("No listener can serve, see their conditions: {}", lost.join(", "));
            let had = gateway.addresses.len();
            gateway.addresses.retain(|one| !absent.iter().any(|ip| ip.to_string() == one.value));
            if gateway.addresses.len() < had {
                reason = unassign(gateway, reason);
            }
            fail(&mut gateway.conditions, reason, &why);
        }
    }
    gateways
}

/// Why each listener with a socket that does not listen does not, by its full name.
fn faults(state: &State) -> HashMap<&str, Fault> {
    let mut faults = HashMap::new();
    for listen in state.shards.iter().flat_map(|shard| &shard.listeners) {
        let Some(error) = &listen.error else { continue };
        let sockets = state.sockets.iter().filter(|socket| socket.is(listen));
        for listener in sockets.flat_map(|socket| &socket.listeners) {
            let fault = || Fault {
                why: format!(
                    "cannot listen on {} {}: {error}",
                    listen.transport.name(),
                    listen.address
                ),
                names_address: !listen.address.ip().is_unspecified(),
                absent: Vec::new(),
            };
            let fault = faults.entry(&**listener).or_insert_with(fault);
            if error.contains(ABSENT) {
                fault.absent.push(listen.address.ip());
            }
        }
    }
    faults
}

/// Says that addresses which were taken from the status are not assigned; why it is not programmed
/// then.
fn unassign(gateway: &mut GatewayStatus, reason: Reason) -> Reason {
    let none = gateway.addresses.is_empty();
    let assigned = |one: &&mut Condition| one.kind == ConditionType::AddressesAssigned;
    if let Some(condition) = gateway.conditions.iter_mut().find(assigned) {
        let (kind, generation) = (condition.kind, condition.observed_generation);
        let why = "Addresses of spec.addresses are not the host's, see the listeners' conditions";
        let reason = if none { Reason::NotAssigned } else { Reason::PartiallyAssigned };
        *condition = Condition::fails(kind, reason, why, generation);
    }
    if none { Reason::AddressNotAssigned } else { reason }
}

fn fail(conditions: &mut [Condition], reason: Reason, why: &str) {
    let programmed = |condition: &&mut Condition| condition.kind == ConditionType::Programmed;
    if let Some(condition) = conditions.iter_mut().find(programmed) {
        let (kind, generation) = (condition.kind, condition.observed_generation);
        *condition = Condition::fails(kind, reason, why.to_owned(), generation);
    }
}

fn is_programmed(listener: &ListenerStatus) -> bool {
    listener.conditions.iter().any(|condition| {
        condition.kind == ConditionType::Programmed && condition.status == ConditionStatus::True
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::report::{ListenState, Transport};
    use crate::state::{About, Socket};
    use crate::store::{Snapshot, Store};
    use crate::translate::status::Address;
    use crate::translate::{Cache, translate};

    const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: one, port: 81, protocol: HTTP}
  - {name: two, port: 82, protocol: HTTP}
";

    fn snapshot() -> Snapshot {
        let mut store = Store::new(Some("ringway".into()), [].into());
        let (documents, _) = crate::yaml::parse(GATEWAY);
        store.put(crate::api::Kind::Gateway.decode(&documents[0]).unwrap());
        store.snapshot()
    }

    /// A state of one shard on which these ports cannot be had.
    fn state(failing: &[u16]) -> State {
        let about = About {
            runtime: "epoll",
            runtime_reason: String::new(),
            cores: vec![None],
            admin: None,
            started: SystemTime::UNIX_EPOCH,
        };
        let mut state = State::new(about);
        let found = translate(&snapshot(), &mut Cache::default());
        state.sockets = Socket::all(&found.ir);
        state.statuses = Arc::new(found.statuses);
        state.shards[0].listeners = [81, 82]
            .map(|port| ListenState {
                transport: Transport::Tcp,
                address: (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
                error: failing.contains(&port).then(|| "in use by other (pid 7)".to_owned()),
            })
            .into();
        state
    }

    fn programmed(conditions: &[Condition]) -> (ConditionStatus, Reason, String) {
        let found = conditions.iter().find(|one| one.kind == ConditionType::Programmed).unwrap();
        (found.status, found.reason, found.message.to_string())
    }

    #[test]
    fn a_listener_whose_port_is_taken_is_not_programmed_and_says_by_whom() {
        let all = gateways(&state(&[81]));
        let gateway = &all[&Name::new("shop", "web")];
        let (status, reason, message) = programmed(&gateway.listeners[0].conditions);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::Invalid));
        assert!(message.contains(":81") && message.contains("other (pid 7)"), "{message}");
        assert_eq!(programmed(&gateway.listeners[1].conditions).0, ConditionStatus::True);
        assert_eq!(programmed(&gateway.conditions).0, ConditionStatus::True);
    }

    #[test]
    fn a_gateway_without_any_listening_socket_is_not_programmed_until_one_heals() {
        let name = Name::new("shop", "web");
        let none = gateways(&state(&[81, 82]));
        assert_eq!(programmed(&none[&name].conditions).0, ConditionStatus::False);
        let healed = gateways(&state(&[]));
        assert_eq!(healed, state(&[]).statuses.gateways);
    }

    #[test]
    fn a_gateway_whose_address_cannot_be_had_says_that_the_address_is_not_usable() {
        let mut state = state(&[81, 82]);
        let absent: IpAddr = [192, 0, 2, 1].into();
        state.sockets.iter_mut().for_each(|socket| socket.address = Some(absent));
        state.shards[0].listeners.iter_mut().for_each(|listen| listen.address.set_ip(absent));
        let all = corrected(&state);
        let (status, reason, _) = programmed(&all.gateways[&Name::new("shop", "web")].conditions);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::AddressNotUsable));

        let name = Name::new("shop", "web");
        let own: IpAddr = [192, 0, 2, 9].into();
        let shown = |ip: IpAddr| {
            let kind = "IPAddress";
            Address { kind, value: ip.to_string(), routability: Some("") }
        };
        for listen in &mut state.shards[0].listeners {
            listen.error = Some(format!("{ABSENT} (os error 99)"));
        }
        for (others, not_programmed, not_assigned) in [
            (vec![own], Reason::AddressNotUsable, Reason::PartiallyAssigned),
            (vec![], Reason::AddressNotAssigned, Reason::NotAssigned),
        ] {
            let gateway = Arc::make_mut(&mut state.statuses).gateways.get_mut(&name).unwrap();
            gateway.addresses = others.iter().copied().chain([absent]).map(shown).collect();
            let found = &corrected(&state).gateways[&name];
            assert_eq!(programmed(&found.conditions).1, not_programmed);
            let assigned =
                found.conditions.iter().find(|one| one.kind == ConditionType::AddressesAssigned);
            assert_eq!(assigned.unwrap().reason, not_assigned);
            assert_eq!(found.addresses.len(), others.len(), "what the host lacks is not shown");
        }
    }
}
