//! Halting nodes by hand: an order stands until it is taken back, over restarts of either side.

use sealwire_proto::v1::NodeAction;

use super::Agent;
use crate::delivery::HaltOrder;

/// An order to nodes, and who gives it.
#[derive(Clone, Debug)]
pub struct NodeOrder {
    /// Id of the node; empty: the only one that is paired.
    pub node_id: String,
    /// Every node that is paired or halted.
    pub all: bool,
    /// What to do.
    pub action: NodeAction,
    /// Why.
    pub reason: String,
    /// Who gives it.
    pub by: String,
}

impl Agent {
    /// Gives an order, durably, and tells to which nodes.
    pub(super) fn order_nodes(&mut self, order: &NodeOrder) -> Result<Vec<String>, String> {
        let nodes = self.ordered_nodes(&order.node_id, order.all)?;
        let halts = self.records.halts.clone();
        for id in &nodes {
            match order.action {
                NodeAction::Halt => {
                    let halt = HaltOrder {
                        by: order.by.clone(),
                        reason: order.reason.clone(),
                        at: self.clock.now(),
                    };
                    self.records.halts.insert(id.clone(), halt);
                }
                NodeAction::Resume if self.records.halts.remove(id).is_none() && !order.all => {
                    return Err(format!("node {id} was not halted by hand"));
                }
                NodeAction::Resume => {}
                NodeAction::Unspecified => return Err("neither halt nor resume was asked for".to_owned()),
            }
        }
        if let Err(error) = self.store.save_json(super::start::RECORDS, &self.records) {
            // An order that a restart forgets is none.
            self.records.halts = halts;
            return Err(format!("the order could not be written down, so it was not given: {error}"));
        }
        self.unpublished = true;
        tracing::warn!(
            target: "audit",
            nodes = nodes.join(", "),
            action = order.action.as_str_name(),
            by = order.by,
            reason = order.reason,
            "an operator's order to nodes"
        );
        Ok(nodes)
    }

    fn ordered_nodes(&self, node_id: &str, all: bool) -> Result<Vec<String>, String> {
        let known = || {
            let ours = self.nodes.iter().filter(|(_, node)| node.info.is_ours()).map(|(id, _)| id);
            let mut known: Vec<_> = ours.chain(self.records.halts.keys()).cloned().collect();
            known.sort();
            known.dedup();
            known
        };
        let seen = |id: &str| {
            self.nodes.contains_key(id)
                || self.records.nodes().any(|(seen, node)| seen == id && !node.foreign)
        };
        let foreign = |id: &str| self.nodes.get(id).is_some_and(|node| !node.info.is_ours());
        match (node_id, known().as_slice()) {
            (_, []) if all || node_id.is_empty() => Err("no node is paired".to_owned()),
            (_, known) if all => Ok(known.to_vec()),
            ("", [only]) => Ok(vec![only.clone()]),
            ("", known) => Err(format!("name a node, or --all: {}", known.join(", "))),
            (id, _) if foreign(id) => {
                Err(format!("{id} is a server that is not ours: it cannot be halted from here"))
            }
            (id, _) if seen(id) => Ok(vec![id.to_owned()]),
            (id, known) => Err(format!("no node \"{id}\" was ever paired; paired: {}", known.join(", "))),
        }
    }
}
