//! Small dense weighted ridge regression and an empirical quantile. Sums run in
//! one fixed order and use `+ - * / sqrt` only, so that every machine, native
//! or wasm, gets the same bits.

/// Sums of squares of a weighted regression with `N` inputs.
pub(crate) struct Normal<const N: usize> {
    products: [[f64; N]; N],
    targets: [f64; N],
}

impl<const N: usize> Normal<N> {
    pub(crate) fn new() -> Self {
        Self {
            products: [[0.0; N]; N],
            targets: [0.0; N],
        }
    }

    pub(crate) fn add(&mut self, x: &[f64; N], y: f64, weight: f64) {
        for i in 0..N {
            let wx = weight * x[i];
            for (a, xj) in self.products[i][..=i].iter_mut().zip(x) {
                *a += wx * xj;
            }
            self.targets[i] += wx * y;
        }
    }

    /// Coefficients by Cholesky with a penalty of `ridge` relative to the
    /// diagonal; zeros when there is no solution.
    pub(crate) fn solve(&self, ridge: f64) -> [f64; N] {
        self.factor(ridge)
            .map(|l| self.substitute(&l))
            .filter(|x| x.iter().all(|c| c.is_finite()))
            .unwrap_or([0.0; N])
    }

    fn factor(&self, ridge: f64) -> Option<[[f64; N]; N]> {
        let mut trace = 0.0;
        for i in 0..N {
            trace += self.products[i][i];
        }
        // A tenth of the mean diagonal on every input: one that never moved
        // (its own diagonal is 0) must not make the matrix singular.
        let shared = 0.1 * ridge * trace / N as f64 + 1e-12;
        let mut l = [[0.0; N]; N];
        for i in 0..N {
            for j in 0..=i {
                let mut s = self.products[i][j];
                if i == j {
                    s += ridge * self.products[i][i] + shared;
                }
                for (a, b) in l[i][..j].iter().zip(&l[j][..j]) {
                    s -= a * b;
                }
                if i == j {
                    if s.is_nan() || s <= 0.0 {
                        return None;
                    }
                    l[i][i] = s.sqrt();
                } else {
                    l[i][j] = s / l[j][j];
                }
            }
        }
        Some(l)
    }

    fn substitute(&self, l: &[[f64; N]; N]) -> [f64; N] {
        let mut x = [0.0; N];
        for i in 0..N {
            let mut s = self.targets[i];
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
        x
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

/// Weighted empirical quantile of (value, weight) with one more observation at
/// infinity (the conformal correction), at most the largest value seen.
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
