use model::PcieLevel::{Node, Phb, Pix, Pxb, Sys, Unknown};
use proptest::prelude::*;

use super::*;

/// The hybrid cube mesh of a DGX-1, padded with spaces, with NICs.
const DGX1: &str = "\
        GPU0    GPU1    GPU2    GPU3    GPU4    GPU5    GPU6    GPU7    mlx5_2  mlx5_0  CPU Affinity
GPU0     X      NV1     NV1     NV2     NV2     SYS     SYS     SYS     SYS     PIX     0-19,40-59
GPU1    NV1      X      NV2     NV1     SYS     NV2     SYS     SYS     SYS     PIX     0-19,40-59
GPU2    NV1     NV2      X      NV2     SYS     SYS     NV1     SYS     SYS     PHB     0-19,40-59
GPU3    NV2     NV1     NV2      X      SYS     SYS     SYS     NV1     SYS     PHB     0-19,40-59
GPU4    NV2     SYS     SYS     SYS      X      NV1     NV1     NV2     PIX     SYS     0-19,40-59
GPU5    SYS     NV2     SYS     SYS     NV1      X      NV2     NV1     PIX     SYS     0-19,40-59
GPU6    SYS     SYS     NV1     SYS     NV1     NV2      X      NV2     PHB     SYS     0-19,40-59
GPU7    SYS     SYS     SYS     NV1     NV2     NV1     NV2      X      PHB     SYS     0-19,40-59
mlx5_2  SYS     SYS     SYS     SYS     PIX     PIX     PHB     PHB      X      SYS
mlx5_0  PIX     PIX     PHB     PHB     SYS     SYS     SYS     SYS     SYS      X

Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
";

/// TABs, a padded diagonal, an empty cell before the last column, NIC rows cut.
const TABS: &str = "\tGPU0\tGPU1\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\r
GPU0\t X \tNV18\tSYS\tPXB\t0-79\t0\t\tN/A\r
GPU1\tNV18\t X \tNODE\tPIX\tN/A\t1\t\tN/A\r
NIC0\tSYS\tNODE\t X \tSYS\r
";

#[test]
fn reads_padded_columns() {
    let topo = parse(DGX1).unwrap();
    assert_eq!(topo.gpus, 8);
    assert_eq!(topo.links.nvlinks(0, 3), 2);
    assert_eq!(topo.links.link(0, 5), Sys as u16);
    assert_eq!(topo.links.link(6, 6), 0);
    assert_eq!(topo.nics.len(), 2);
    assert_eq!(topo.nics[0].name, "mlx5_2");
    assert_eq!(
        topo.nics[0].levels,
        [Sys, Sys, Sys, Sys, Pix, Pix, Phb, Phb]
    );
    assert_eq!(topo.cpu_affinity[7].as_deref(), Some("0-19,40-59"));
    assert_eq!(topo.numa, [None; 8]);
    assert_eq!(topo.links.numa(), [-1; 8]);
    assert_eq!(topo.notes, ["no NUMA column in the header: line 1"]);
}

#[test]
fn reads_tabs_and_completes_a_missing_row() {
    let topo = parse(TABS).unwrap();
    assert_eq!(topo.gpus, 2);
    assert_eq!(topo.links.nvlinks(1, 0), 18);
    assert_eq!(topo.nics[0].levels, [Sys, Node]);
    assert_eq!(topo.nics[1].levels, [Pxb, Pix]);
    assert_eq!(topo.numa, [Some(0), Some(1)]);
    assert_eq!(topo.cpu_affinity, [Some("0-79".to_owned()), None]);
    assert_eq!(topo.notes, ["rows missing: NIC1"]);
}

#[test]
fn what_symmetry_cannot_complete_stays_unknown() {
    let text = "\tGPU0\tGPU1\tGPU2\tNIC0\nGPU0\tX\tNV4\tSYS\tPIX\n";
    let topo = parse(text).unwrap();
    assert_eq!(topo.links.nvlinks(1, 0), 4);
    assert_eq!(topo.links.link(1, 2), 0);
    assert_eq!(topo.nics[0].levels, [Pix, Unknown, Unknown]);
    assert_eq!(
        topo.notes,
        [
            "NIC distances unknown: 2, first NIC0-GPU1",
            "links completed by symmetry: 2, first GPU0-GPU1",
            "links unknown: GPU1-GPU2",
            "no NUMA column in the header: line 1",
            "rows missing: 3, first GPU1",
        ]
    );
}

#[test]
fn errors_say_where_and_what() {
    let check = |text: &str, expected: &str| {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    };
    check(
        "",
        "no header line with GPU0, GPU1, …; expected the output of `nvidia-smi topo -m`",
    );
    check(
        "Failed to initialize NVML",
        "no header line with GPU0, GPU1, …; expected the output of `nvidia-smi topo -m`",
    );
    check(
        " GPU0 GPU1\nGPU0 X NV0\n",
        "line 2: GPU0 to GPU1: found \"NV0\", expected X, SYS, NODE, PHB, PXB, PIX or NV1 to NV18",
    );
    check(
        " GPU0 GPU1\nGPU0 NV1 X\n",
        "line 2: GPU0 to GPU0: found \"NV1\", expected X, SYS, NODE, PHB, PXB, PIX or NV1 to NV18",
    );
    check(
        " GPU0 GPU1\nGPU0 X\n",
        "line 2: row GPU0 has 1 links, expected 2, one for each device of the header",
    );
    check(
        " GPU0 GPU1\nGPU0 X NV1\nGPU1 NV2 X\n",
        "GPU0 to GPU1 is NV1, but GPU1 to GPU0 is NV2",
    );
    check(
        " GPU0 GPU1\nGPU0 X NV1\nGPU0 X NV1\n",
        "line 3: device \"GPU0\" is listed twice",
    );
    check(
        "x\n GPU0 GPU2\n",
        "line 2: found column \"GPU2\", expected the GPUs first and in order, next GPU1",
    );
    check(
        " GPU0 NIC0 GPU1\n",
        "line 1: found column \"GPU1\", expected the GPUs first and in order, next GPU1",
    );
    let many: String = (0..17).map(|n| format!(" GPU{n}")).collect();
    check(&many, "17 GPUs on one node, more than 16");
}

/// NVLinks inside every set of `k` GPUs: fewest, sum, most, the number of sets
/// with all pairs linked, and the sets with the most.
fn subsets(links: &LinkMatrix, k: u32) -> (u16, u32, u16, usize, Vec<Vec<usize>>) {
    let n = links.gpus();
    let (mut min, mut sum, mut max, mut cliques) = (u16::MAX, 0, 0, 0);
    let mut best: Vec<Vec<usize>> = Vec::new();
    for mask in 0u32..1 << n {
        if mask.count_ones() != k {
            continue;
        }
        let set: Vec<usize> = (0..n).filter(|g| mask >> g & 1 == 1).collect();
        let pairs = set
            .iter()
            .flat_map(|a| set.iter().filter(move |b| a < b).map(move |b| (*a, *b)));
        let counts: Vec<u16> = pairs.map(|(a, b)| links.nvlinks(a, b)).collect();
        let total: u16 = counts.iter().sum();
        min = min.min(total);
        sum += u32::from(total);
        cliques += usize::from(counts.iter().all(|c| *c > 0));
        if total > max {
            max = total;
            best.clear();
        }
        if total == max {
            best.push(set);
        }
    }
    (min, sum, max, cliques, best)
}

/// Exhaustive oracle of the DGX-1 (table 4.3 of the reference): k, subsets,
/// links of the worst, mean and best set, cliques, number of best sets.
fn check_dgx1(links: &LinkMatrix) {
    type Line = (u32, u32, u16, f64, u16, Option<usize>, usize);
    let table: [Line; 5] = [
        (2, 28, 0, 0.857, 2, Some(16), 8),
        (3, 56, 1, 2.571, 5, Some(8), 4),
        (4, 70, 2, 5.143, 9, Some(2), 2),
        (5, 56, 7, 8.57, 11, Some(0), 4),
        (6, 28, 12, 12.86, 14, Some(0), 8),
    ];
    for (k, count, min, mean, max, cliques, best) in table {
        let found = subsets(links, k);
        assert_eq!(found.0, min, "fewest links of {k} GPUs");
        let found_mean = f64::from(found.1) / f64::from(count);
        assert!(
            (found_mean - mean).abs() < 5e-3,
            "mean of {k}: {found_mean}"
        );
        assert_eq!(found.2, max, "most links of {k} GPUs");
        if let Some(cliques) = cliques {
            assert_eq!(found.3, cliques, "linked sets of {k} GPUs");
        }
        assert_eq!(found.4.len(), best, "best sets of {k} GPUs: {:?}", found.4);
    }
    let mut pairs = subsets(links, 2).4;
    pairs.sort();
    assert_eq!(
        pairs,
        [
            [0, 3],
            [0, 4],
            [1, 2],
            [1, 5],
            [2, 3],
            [4, 7],
            [5, 6],
            [6, 7]
        ]
    );
    let mut triples = subsets(links, 3).4;
    triples.sort();
    assert_eq!(triples, [[0, 2, 3], [1, 2, 3], [4, 6, 7], [5, 6, 7]]);
    assert_eq!(subsets(links, 4).4, [[0, 1, 2, 3], [4, 5, 6, 7]]);
}

#[test]
fn dgx1_matches_the_exhaustive_oracle() {
    check_dgx1(&parse(DGX1).unwrap().links);
}

#[test]
fn every_published_listing_parses() {
    let Some(dir) = crate::shared_data::find("every_published_listing_parses", "topology") else {
        return;
    };
    // File, GPUs, NICs, best NVLinks of a pair, NUMA nodes, notes.
    let expected = [
        ("a100_sxm4_8gpu_p4d.txt", 8, 0, 12, 2, 0),
        ("dgx1_v100_4nic.txt", 8, 4, 2, 0, 1),
        ("dgx2_v100_16gpu_partial.txt", 16, 10, 6, 0, 5),
        ("h100_4gpu_nv18_vm.txt", 4, 1, 18, 1, 0),
        ("h100_8gpu_nics_tab_partial.txt", 8, 9, 18, 2, 1),
        ("h100_sxm5_8gpu.txt", 8, 0, 18, 2, 0),
        ("l40s_4gpu_2nic.txt", 4, 2, 0, 2, 0),
        ("nvlink_bridge_pairs_4gpu_nv4.txt", 4, 1, 4, 2, 0),
        ("pcie_4gpu_node.txt", 4, 0, 0, 1, 0),
        ("pcie_8gpu_pix_pxb_sys.txt", 8, 0, 0, 0, 0),
        ("v100_sxm2_8gpu_numa.txt", 8, 0, 2, 2, 0),
    ];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let topo = parse(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let best = (0..topo.gpus)
            .flat_map(|a| (0..topo.gpus).map(move |b| (a, b)))
            .map(|(a, b)| topo.links.nvlinks(a, b))
            .max()
            .unwrap();
        let mut numa: Vec<i8> = topo.numa.iter().flatten().copied().collect();
        numa.sort_unstable();
        numa.dedup();
        if name.starts_with("dgx1") || name.starts_with("v100_sxm2") {
            check_dgx1(&topo.links);
        }
        found.push((
            name,
            topo.gpus,
            topo.nics.len(),
            best,
            numa.len(),
            topo.notes,
        ));
    }
    found.sort();
    let seen: Vec<_> = found
        .iter()
        .map(|(name, gpus, nics, best, numa, notes)| {
            (name.as_str(), *gpus, *nics, *best, *numa, notes.len())
        })
        .collect();
    for want in expected {
        assert!(seen.contains(&want), "{want:?} is not in {found:#?}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn never_panics_on_words_of_listings(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "GPU0", "GPU1", "GPU2", "NIC0", "X", "NV1", "NV99", "SYS", "PIX", "CPU",
                "NUMA", "Affinity", "0-3", "N/A", "1", "\n", "\t", "Legend:", "GPU999999999999999999999",
            ]),
            0..80,
        )
    ) {
        let _ = parse(&words.join(" "));
    }
}
