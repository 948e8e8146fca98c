/* A direct convolution on packed float32. Returns 0, or 1 where the arguments are refused.
   size: n, c, h, w, f, kh, kw, oh, ow, stride, padding and dilation by axis, groups. */
int conv2d(float *out, const float *x, const float *weight, const float *bias, const long *size)
{
    const long n = size[0], c = size[1], h = size[2], w = size[3], f = size[4];
    const long kh = size[5], kw = size[6], oh = size[7], ow = size[8];
    const long sh = size[9], sw = size[10], ph = size[11], pw = size[12];
    const long dh = size[13], dw = size[14], groups = size[15];

    if (groups < 1 || c % groups || f % groups || sh < 1 || sw < 1 || dh < 1 || dw < 1)
        return 1;
    if (ph < 0 || pw < 0 || kh < 1 || kw < 1 || h < 1 || w < 1)
        return 1;
    const long rows = h + 2 * ph - dh * (kh - 1) - 1, columns = w + 2 * pw - dw * (kw - 1) - 1;
    if (rows < 0 || columns < 0 || oh != rows / sh + 1 || ow != columns / sw + 1)
        return 1;

    for (long image = 0; image < n; image++)
        for (long feature = 0; feature < f; feature++)
            for (long row = 0; row < oh; row++)
                for (long column = 0; column < ow; column++) {
                    const long first = feature / (f / groups) * (c / groups);
                    float sum = bias ? bias[feature] : 0.0f;
                    for (long channel = 0; channel < c / groups; channel++)
                        for (long k = 0; k < kh; k++)
                            for (long t = 0; t < kw; t++) {
                                const long y = row * sh - ph + k * dh, z = column * sw - pw + t * dw;
                                if (y < 0 || y >= h || z < 0 || z >= w)
                                    continue;
                                sum += x[((image * c + first + channel) * h + y) * w + z]
                                     * weight[((feature * (c / groups) + channel) * kh + k) * kw + t];
                            }
                    out[((image * f + feature) * oh + row) * ow + column] = sum;
                }
    return 0;
}
