//! The shapes of statuses: which fields of each kind's status we write, and where conditions stand.
//!
//! Data only. Shared by the [merge](super::merge), which must know what is ours, and the
//! [writer](super::writer), which must know what goes first. Kinds without a status of ours have no
//! shape.

use crate::api::Kind;

/// The status of a kind, as far as it is ours.
#[derive(Debug)]
pub struct Shape {
    /// Fields that we write, also to empty them.
    pub fields: &'static [&'static str],
    /// Fields that the API wants even when they are empty.
    pub required: &'static [&'static str],
    /// Types of conditions of the object itself that the API gives to its controller.
    pub conditions: &'static [&'static str],
    /// A list of entries with conditions of their own.
    pub entries: Option<Entries>,
}

/// A list in a status whose entries have conditions.
#[derive(Debug)]
pub enum Entries {
    /// `listeners`, all ours, known by `name`.
    Listeners {
        /// Types of conditions that are ours.
        conditions: &'static [&'static str],
    },
    /// Entries of several controllers, ours known by `controllerName` and a reference.
    Shared {
        /// `parents` or `ancestors`.
        field: &'static str,
        /// `parentRef` or `ancestorRef`.
        reference: &'static str,
        /// Types of conditions that are ours.
        conditions: &'static [&'static str],
        /// Entries of all controllers that the API takes.
        max: usize,
    },
}

impl Entries {
    /// The field that holds the list.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Listeners { .. } => "listeners",
            Self::Shared { field, .. } => field,
        }
    }
}

const LISTENER: &[&str] =
    &["Accepted", "Conflicted", "OverlappingTLSConfig", "Programmed", "ResolvedRefs"];

static CLASS: Shape = Shape {
    fields: &["conditions", "supportedFeatures"],
    required: &[],
    conditions: &["Accepted", "SupportedVersion"],
    entries: None,
};

static GATEWAY: Shape = Shape {
    fields: &["addresses", "attachedListenerSets", "conditions", "listeners"],
    required: &[],
    conditions: &[
        "Accepted",
        "AddressesAssigned",
        "InsecureFrontendValidationMode",
        "Programmed",
        "ResolvedRefs",
    ],
    entries: Some(Entries::Listeners { conditions: LISTENER }),
};

static LISTENER_SET: Shape = Shape {
    fields: &["conditions", "listeners"],
    required: &[],
    conditions: &["Accepted", "Programmed"],
    entries: Some(Entries::Listeners { conditions: LISTENER }),
};

static ROUTE: Shape = Shape {
    fields: &["parents"],
    required: &["parents"],
    conditions: &[],
    entries: Some(Entries::Shared {
        field: "parents",
        reference: "parentRef",
        conditions: &["Accepted", "PartiallyInvalid", "ResolvedRefs"],
        max: 32,
    }),
};

static POLICY: Shape = Shape {
    fields: &["ancestors"],
    required: &["ancestors"],
    conditions: &[],
    entries: Some(Entries::Shared {
        field: "ancestors",
        reference: "ancestorRef",
        conditions: &["Accepted", "ResolvedRefs"],
        max: 16,
    }),
};

/// The shape of a kind's status; `None` where the kind has none that is ours to write.
#[must_use]
pub fn of(kind: Kind) -> Option<&'static Shape> {
    Some(match kind.as_str() {
        "GatewayClass" => &CLASS,
        "Gateway" => &GATEWAY,
        "ListenerSet" => &LISTENER_SET,
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" | "UDPRoute" => &ROUTE,
        "BackendTLSPolicy" => &POLICY,
        _ => return None,
    })
}

/// What is written first: whatever others wait for.
#[must_use]
pub fn priority(kind: Kind) -> u8 {
    match kind.as_str() {
        "GatewayClass" => 0,
        "Gateway" => 1,
        "ListenerSet" => 2,
        _ => 3,
    }
}
