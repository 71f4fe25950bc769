//! Properties of the forecaster.
use super::*;

fn daily(n: usize) -> Vec<f64> {
    let mut seed = 3u64;
    (0..n)
        .map(|i| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let x = (i % 1440) as f64 / 1440.0;
            100.0 + 900.0 * x * (1.0 - x) + 60.0 * ((seed >> 40) as f64 / (1u64 << 24) as f64)
        })
        .collect()
}

#[test]
fn horizons_are_spread() {
    assert_eq!(horizons(1), [1]);
    assert_eq!(horizons(2), [1, 2]);
    assert_eq!(horizons(16), [1, 6, 11, 16]);
}

#[test]
fn quantile_covers_unseen_steps() {
    let v = daily(8 * 1440);
    let s = Settings::default();
    let cut = 7 * 1440;
    let m = fit(&v[..cut], 60_000, cut as i64 * 60_000, 6, &s).unwrap();
    let (mut hit, mut all) = (0, 0);
    for i in cut..v.len() - 6 {
        for p in predict(&m, &v[..i]).unwrap() {
            hit += u32::from(v[i + p.horizon as usize - 1] <= p.upper);
            all += 1;
        }
    }
    let share = f64::from(hit) / f64::from(all);
    assert!((share - s.quantile).abs() < 0.03, "{share}");
}

#[test]
fn degenerate_series() {
    let s = Settings::default();
    assert!(fit(&[1.0; 100], 60_000, 6_000_000, 2, &s).is_none());
    for level in [0.0, 5.0] {
        let v = vec![level; 4000];
        let m = fit(&v, 60_000, 240_000_000, 6, &s).unwrap();
        for p in predict(&m, &v).unwrap() {
            assert!(
                (p.mean - level).abs() < 1e-6 && (p.upper - level).abs() < 0.1,
                "{p:?}"
            );
        }
    }
}

#[test]
fn bytes_round_trip() {
    let v = daily(3 * 1440);
    let m = fit(&v, 60_000, 99, 16, &Settings::default()).unwrap();
    let mut bytes = Vec::new();
    m.write(&mut bytes);
    assert_eq!(Model::read(&mut bytes.as_slice()), Some(m));
    for cut in 0..bytes.len() {
        assert!(Model::read(&mut &bytes[..cut]).is_none());
    }
    bytes[0] ^= 1;
    assert!(Model::read(&mut bytes.as_slice()).is_none());
}
