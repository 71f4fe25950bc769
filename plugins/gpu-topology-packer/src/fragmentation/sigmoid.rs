//! The sigmoid of the published score, exact in integers.

/// `ceil(10^9 * ln(s / (100 - s)))` for s = 51..=99: the drop of fragmentation, in 10^-9 GPU, from
/// which `int(100 * sigmoid(drop in GPUs))` is at least s.
#[rustfmt::skip]
const SIGMOID: [i64; 49] = [
    40_005_335, 80_042_708, 120_144_312, 160_342_651, 200_670_696, 241_162_057, 281_851_153,
    322_773_393, 363_965_378, 405_465_109, 447_312_219, 489_548_226, 532_216_814, 575_364_145,
    619_039_209, 663_294_218, 708_185_058, 753_771_803, 800_119_301, 847_297_861, 895_384_048,
    944_461_609, 994_622_576, 1_045_968_556, 1_098_612_289, 1_152_679_510, 1_208_311_206, 1_265_666_374,
    1_324_925_415, 1_386_294_362, 1_450_010_176, 1_516_347_490, 1_585_627_264, 1_658_228_077, 1_734_601_056,
    1_815_289_967, 1_900_958_762, 1_992_430_165, 2_090_741_097, 2_197_224_578, 2_313_634_930, 2_442_347_036,
    2_586_689_345, 2_751_535_314, 2_944_438_980, 3_178_053_831, 3_476_098_690, 3_891_820_299, 4_595_119_851,
];

/// `int(100 * sigmoid(drop / 1000 / total))` exactly, for a drop in milli-GPU times `total`.
pub(super) fn sigmoid_percent(drop: i64, total: i64) -> i64 {
    // x >= t  <=>  drop * 10^6 >= t * total, with both sides integers.
    let steps = SIGMOID.partition_point(|&t| drop.abs() * 1_000_000 >= t * total) as i64;
    // The sigmoid is odd around 50 and the thresholds are irrational, so no negative drop meets one.
    if drop >= 0 { 50 + steps } else { 49 - steps }
}
