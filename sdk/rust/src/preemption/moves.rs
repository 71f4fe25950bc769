//! New places for work that makes room.

use std::cmp::Reverse;

use super::{Case, Cluster, Move};

/// Rows in the order in which work moves to them: the fullest first.
#[must_use]
pub fn move_targets(cluster: &Cluster<'_>) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..cluster.len() as u32).collect();
    rows.sort_by_cached_key(|row| {
        let row = *row as usize;
        (cluster.milli_sum(row), cluster.free(row), cluster.id(row))
    });
    rows
}

/// Moves all of them, largest first, each to the first target that has room and
/// that nobody moves away from. None if one finds no place; the cluster then holds
/// a part of the moves, for the caller to roll back.
pub fn move_away(
    case: &Case<'_>,
    cluster: &mut Cluster<'_>,
    victims: &[u32],
    targets: &[u32],
) -> Option<Vec<Move>> {
    let running = &case.request.running;
    let mut freed: Vec<u32> = victims.iter().map(|v| running.row[*v as usize]).collect();
    freed.sort_unstable();
    let mut order = victims.to_vec();
    order.sort_by_cached_key(|victim| {
        let pod = cluster.as_pod(*victim as usize);
        let size = (pod.gpu_request(), pod.cpu, pod.memory);
        (Reverse(size), running.id[*victim as usize])
    });
    let mut moves = Vec::with_capacity(order.len());
    for victim in order {
        let (row, devices) = targets.iter().find_map(|row| {
            let leaving = freed.binary_search(row).is_ok();
            let devices =
                (!leaving).then(|| cluster.try_move(victim as usize, *row as usize))??;
            Some((*row, devices))
        })?;
        moves.push(Move {
            id: running.id[victim as usize],
            row,
            slots: devices.iter().collect(),
        });
    }
    moves.sort_by_key(|m| m.id);
    Some(moves)
}
