//! Small dense weighted ridge regression and an empirical quantile, in fixed
//! order and with `+ - * / sqrt` only.

/// Sum of squares accumulated for a weighted ridge regression.
pub(crate) struct Normal<const N: usize> {
    a: [[f64; N]; N],
    b: [f64; N],
}

impl<const N: usize> Normal<N> {
    pub(crate) fn new() -> Self {
        Normal {
            a: [[0.0; N]; N],
            b: [0.0; N],
        }
    }

    pub(crate) fn add(&mut self, x: &[f64; N], y: f64, w: f64) {
        for i in 0..N {
            let wx = w * x[i];
            for (a, xj) in self.a[i][..=i].iter_mut().zip(x) {
                *a += wx * xj;
            }
            self.b[i] += wx * y;
        }
    }

    /// Cholesky solution of `(A + penalty) x = b`; zeros when it is not solvable.
    pub(crate) fn solve(&self, ridge: f64) -> [f64; N] {
        let mut trace = 0.0;
        for i in 0..N {
            trace += self.a[i][i];
        }
        let shared = 0.1 * ridge * trace / N as f64 + 1e-12;
        let mut l = [[0.0; N]; N];
        for i in 0..N {
            for j in 0..=i {
                let mut s = self.a[i][j];
                if i == j {
                    s += ridge * self.a[i][i] + shared;
                }
                for (a, b) in l[i][..j].iter().zip(&l[j][..j]) {
                    s -= a * b;
                }
                if i == j {
                    if s.is_nan() || s <= 0.0 {
                        return [0.0; N];
                    }
                    l[i][i] = s.sqrt();
                } else {
                    l[i][j] = s / l[j][j];
                }
            }
        }
        let mut x = [0.0; N];
        for i in 0..N {
            let mut s = self.b[i];
            for k in 0..i {
                s -= l[i][k] * x[k];
            }
            x[i] = s / l[i][i];
        }
        for i in (0..N).rev() {
            let mut s = x[i];
            for k in i + 1..N {
                s -= l[k][i] * x[k];
            }
            x[i] = s / l[i][i];
        }
        if x.iter().all(|c| c.is_finite()) {
            x
        } else {
            [0.0; N]
        }
    }
}

/// Scalar product, summed from the first element on.
pub(crate) fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    let mut s = 0.0;
    for i in 0..N {
        s += a[i] * b[i];
    }
    s
}

/// Weighted empirical quantile with one extra observation at infinity
/// (the conformal correction), capped at the largest value seen.
pub(crate) fn upper_quantile(z: &mut [(f64, f64)], q: f64) -> f64 {
    z.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut total = 0.0;
    for (_, w) in z.iter() {
        total += w;
    }
    let goal = q.clamp(0.0, 1.0) * (total + total / z.len().max(1) as f64);
    let mut sum = 0.0;
    for (value, w) in z.iter() {
        sum += w;
        if sum >= goal {
            return *value;
        }
    }
    z.last().map_or(0.0, |p| p.0)
}
