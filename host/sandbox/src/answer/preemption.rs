//! Of the preemption kind. Whether each victim may be taken and the preemptor
//! then fits is the engine's to say; here a plan has the contract's form and
//! size, and points at nothing that the request does not have.

use engine::port::preemption::{Move, Placement, Plan, PreemptRequest, Proposal, Victim};
use model::PolicyFault;
use model::gang::GANG_PODS_MAX;

use super::{at_most, bad, text};
use crate::bindings::preemption::exports::loadmaster::policy::preemption as wit;
use crate::limits::{KEY_NUMBERS_MAX, REASON_BYTES_MAX, VICTIMS_MAX};

pub(crate) fn proposal(
    said: wit::Answer,
    request: &PreemptRequest<'_>,
) -> Result<Proposal, PolicyFault> {
    Ok(match said {
        wit::Answer::Plan(said) => Proposal::Plan(plan(said, request)?),
        wit::Answer::None(reason) => Proposal::None(text("reason", &reason, REASON_BYTES_MAX)?),
        wit::Answer::Abstain => Proposal::Abstain,
    })
}

fn plan(said: wit::Plan, request: &PreemptRequest<'_>) -> Result<Plan, PolicyFault> {
    at_most("victims", said.victims.len(), VICTIMS_MAX)?;
    at_most("moves", said.moves.len(), VICTIMS_MAX)?;
    at_most("placements", said.placements.len(), GANG_PODS_MAX as usize)?;
    at_most("numbers of a cost", said.cost.len(), KEY_NUMBERS_MAX)?;
    index("domain", said.domain, request.domains.len())?;
    let (rows, slots) = (request.rows.count as usize, request.rows.slots);
    let roles = request.preemptor.demands.len();
    let victims = said.victims.into_iter().map(|v| {
        Ok(Victim {
            id: v.id,
            grace: v.grace,
            reason: text("reason", &v.reason, REASON_BYTES_MAX)?,
        })
    });
    let moves = said.moves.into_iter().map(|m| {
        index("row", m.row, rows)?;
        Ok(Move {
            id: m.id,
            row: m.row,
            slots: devices(m.slots, slots)?,
        })
    });
    let placements = said.placements.into_iter().map(|p| {
        index("role", p.role, roles)?;
        index("row", p.row, rows)?;
        Ok(Placement {
            role: p.role,
            row: p.row,
            slots: devices(p.slots, slots)?,
        })
    });
    Ok(Plan {
        domain: said.domain,
        victims: victims.collect::<Result<_, PolicyFault>>()?,
        moves: moves.collect::<Result<_, PolicyFault>>()?,
        placements: placements.collect::<Result<_, PolicyFault>>()?,
        cost: said.cost,
        hold: said.hold,
    })
}

fn index(what: &str, given: u32, of: usize) -> Result<(), PolicyFault> {
    if (given as usize) < of {
        Ok(())
    } else {
        Err(bad(format!("{what} {given} of {of}")))
    }
}

/// Different devices, and there. Which the pod needs, the engine knows.
fn devices(chosen: Vec<u32>, slots: u32) -> Result<Vec<u32>, PolicyFault> {
    // Bounds their number too, before each is compared with the others.
    if chosen.len() > slots as usize {
        return Err(bad(format!("{} devices of {slots}", chosen.len())));
    }
    super::slots(&chosen, chosen.len() as u32, slots)?;
    Ok(chosen)
}
