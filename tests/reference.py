"""Loop-written oracles: the definitions, one number at a time, no tensor operator in them."""

import itertools
import math

import torch


def taps(size, kernel, stride, padding, dilation, outputs):
    """For each window, the pixels it reads: lists of (row, column) inside the image."""
    height, width = size
    for p, q in itertools.product(range(outputs[0]), range(outputs[1])):
        pixels = []
        for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
            row = p * stride[0] + i * dilation[0] - padding[0]
            column = q * stride[1] + j * dilation[1] - padding[1]
            if 0 <= row < height and 0 <= column < width:
                pixels.append((i, j, row, column))
        yield (p, q), pixels


def convolution_size(image_size, kernel, stride, padding, dilation):
    return [
        (size + 2 * pad - d * (k - 1) - 1) // s + 1
        for size, pad, d, k, s in zip(image_size, padding, dilation, kernel, stride, strict=True)
    ]


def products(image, filters, kernel, stride, padding, dilation, groups):
    """Every product in a convolution's sums: where its factors are in x, in the weight and in y.

    Args:
        image: (N, C_in, H, W).
    """
    n, channels, *size = image
    outputs = convolution_size(size, kernel, stride, padding, dilation)
    windows = list(taps(size, kernel, stride, padding, dilation, outputs))
    shared = channels // groups
    for image, filter_ in itertools.product(range(n), range(filters)):
        first = filter_ // (filters // groups) * shared
        for (p, q), pixels in windows:
            for c, (i, j, row, column) in itertools.product(range(shared), pixels):
                yield (image, first + c, row, column), (filter_, c, i, j), (image, filter_, p, q)


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    filters, _, *kernel = weight.shape
    outputs = convolution_size(x.shape[2:], kernel, stride, padding, dilation)
    y = torch.zeros(len(x), filters, *outputs, dtype=x.dtype)
    for filter_ in range(filters):
        y[:, filter_] = bias[filter_].item()
    for pixel, tap, output in products(x.shape, filters, kernel, stride, padding, dilation, groups):
        y[output] += weight[tap].item() * x[pixel].item()
    return y


def conv2d_input(weight, g, image_size, stride, padding, dilation, groups):
    filters, shared, *kernel = weight.shape
    x = torch.zeros(len(g), shared * groups, *image_size, dtype=g.dtype)
    for pixel, tap, output in products(x.shape, filters, kernel, stride, padding, dilation, groups):
        x[pixel] += weight[tap].item() * g[output].item()
    return x


def conv2d_weight(x, g, kernel, stride, padding, dilation, groups):
    filters = g.shape[1]
    weight = torch.zeros(filters, x.shape[1] // groups, *kernel, dtype=x.dtype)
    for pixel, tap, output in products(x.shape, filters, kernel, stride, padding, dilation, groups):
        weight[tap] += g[output].item() * x[pixel].item()
    return weight


def untied_products(image, filters, kernel, stride, padding, dilation, groups):
    """The same of a locally connected layer, whose weight is (H_out, W_out, G, K, C_out/G)."""
    shared, per_group = image[1] // groups, filters // groups
    for pixel, (filter_, c, i, j), output in products(
        image, filters, kernel, stride, padding, dilation, groups
    ):
        k = (i * kernel[1] + j) * shared + c
        yield pixel, (*output[2:], filter_ // per_group, k, filter_ % per_group), output


def locally_connected2d(x, weight, kernel, stride, padding, dilation, groups):
    filters = groups * weight.shape[4]
    y = torch.zeros(len(x), filters, *weight.shape[:2], dtype=x.dtype)
    for pixel, tap, output in untied_products(
        x.shape, filters, kernel, stride, padding, dilation, groups
    ):
        y[output] += weight[tap].item() * x[pixel].item()
    return y


def locally_connected2d_input(weight, g, image_size, kernel, stride, padding, dilation, groups):
    channels = groups * weight.shape[3] // (kernel[0] * kernel[1])
    x = torch.zeros(len(g), channels, *image_size, dtype=g.dtype)
    for pixel, tap, output in untied_products(
        x.shape, g.shape[1], kernel, stride, padding, dilation, groups
    ):
        x[pixel] += weight[tap].item() * g[output].item()
    return x


def locally_connected2d_weight(x, g, kernel, stride, padding, dilation, groups):
    filters, (height, width) = g.shape[1], g.shape[2:]
    size = kernel[0] * kernel[1] * x.shape[1] // groups
    weight = torch.zeros(height, width, groups, size, filters // groups, dtype=x.dtype)
    for pixel, tap, output in untied_products(
        x.shape, filters, kernel, stride, padding, dilation, groups
    ):
        weight[tap] += g[output].item() * x[pixel].item()
    return weight


def max_pool2d(x, kernel, stride, padding, dilation, outputs):
    """The maxima, and i*K_w + j of the first pixel of each window that has it; the last NaN wins.

    A window without pixels has -inf, and a switch of 0.
    """
    n, channels, *size = x.shape
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    y = torch.full((n, channels, *outputs), lowest, dtype=x.dtype)
    switches = torch.zeros(n, channels, *outputs, dtype=torch.int64)
    windows = list(taps(size, kernel, stride, padding, dilation, outputs))
    for image, c in itertools.product(range(n), range(channels)):
        for (p, q), pixels in windows:
            best = None
            for i, j, row, column in pixels:
                value = x[image, c, row, column].item()
                if best is None or value > best or math.isnan(value):
                    best = value
                    y[image, c, p, q] = best
                    switches[image, c, p, q] = i * kernel[1] + j
    return y, switches


def max_pool2d_gather(x, switches, kernel, stride, padding, dilation):
    n, channels, *size = x.shape
    y = torch.zeros(switches.shape, dtype=x.dtype)
    for (p, q), pixels in taps(size, kernel, stride, padding, dilation, switches.shape[2:]):
        for image, c in itertools.product(range(n), range(channels)):
            for i, j, row, column in pixels:
                if switches[image, c, p, q].item() == i * kernel[1] + j:
                    y[image, c, p, q] = x[image, c, row, column].item()
    return y


def max_pool2d_backward(y, switches, kernel, stride, padding, dilation, size):
    n, channels, *outputs = y.shape
    x = torch.zeros(n, channels, *size, dtype=y.dtype)
    for (p, q), pixels in taps(size, kernel, stride, padding, dilation, outputs):
        for image, c in itertools.product(range(n), range(channels)):
            for i, j, row, column in pixels:
                if switches[image, c, p, q].item() == i * kernel[1] + j:
                    x[image, c, row, column] += y[image, c, p, q].item()
    return x


def window_sum(x, kernel, stride, padding, dilation, outputs):
    n, channels, *size = x.shape
    y = torch.zeros(n, channels, *outputs, dtype=x.dtype)
    for (p, q), pixels in taps(size, kernel, stride, padding, dilation, outputs):
        for image, c in itertools.product(range(n), range(channels)):
            y[image, c, p, q] = sum(x[image, c, row, column].item() for _, _, row, column in pixels)
    return y


def window_sum_backward(y, kernel, stride, padding, dilation, size):
    n, channels, *outputs = y.shape
    x = torch.zeros(n, channels, *size, dtype=y.dtype)
    for (p, q), pixels in taps(size, kernel, stride, padding, dilation, outputs):
        for image, c in itertools.product(range(n), range(channels)):
            for _, _, row, column in pixels:
                x[image, c, row, column] += y[image, c, p, q].item()
    return x


def avg_pool2d(x, kernel, stride, padding, outputs, count_include_pad):
    n, channels, height, width = x.shape
    y = torch.zeros(n, channels, *outputs, dtype=x.dtype)
    for (p, q), pixels in taps((height, width), kernel, stride, padding, (1, 1), outputs):
        rows, columns = (
            min(at * s - pad + k, size + pad) - (at * s - pad)
            for at, s, pad, k, size in zip(
                (p, q), stride, padding, kernel, (height, width), strict=True
            )
        )
        area = rows * columns if count_include_pad else len(pixels)
        for image, c in itertools.product(range(n), range(channels)):
            y[image, c, p, q] = sum(x[image, c, r, w].item() for _, _, r, w in pixels) / area
    return y


def lp_pool2d(x, power, kernel, stride, outputs):
    n, channels, *size = x.shape
    y = torch.zeros(n, channels, *outputs, dtype=x.dtype)
    for (p, q), pixels in taps(size, kernel, stride, (0, 0), (1, 1), outputs):
        for image, c in itertools.product(range(n), range(channels)):
            total = sum(abs(x[image, c, r, w].item()) ** power for _, _, r, w in pixels)
            y[image, c, p, q] = total ** (1 / power)
    return y


def lp_pool2d_backward(dy, x, power, kernel, stride):
    n, channels, *size = x.shape
    y, dx = lp_pool2d(x, power, kernel, stride, dy.shape[2:]), torch.zeros_like(x)
    for (p, q), pixels in taps(size, kernel, stride, (0, 0), (1, 1), dy.shape[2:]):
        for image, c in itertools.product(range(n), range(channels)):
            norm = y[image, c, p, q].item()
            for _, _, row, column in pixels if norm else ():
                value = x[image, c, row, column].item()
                slope = math.copysign(abs(value / norm) ** (power - 1), value) if value else 0
                dx[image, c, row, column] += dy[image, c, p, q].item() * slope
    return dx


def batch_norm(x, gamma, beta, eps):
    """y, and the mean and the variance of every channel; x is (N, C, M)."""
    n, channels, length = x.shape
    y, (mean, variance) = torch.zeros_like(x), torch.zeros(2, channels, dtype=x.dtype)
    places = list(itertools.product(range(n), range(length)))
    for c in range(channels):
        m = sum(x[i, c, j].item() for i, j in places) / len(places)
        v = sum((x[i, c, j].item() - m) ** 2 for i, j in places) / len(places)
        mean[c], variance[c] = m, v
        for i, j in places:
            h = (x[i, c, j].item() - m) / math.sqrt(v + eps)
            y[i, c, j] = gamma[c].item() * h + beta[c].item()
    return y, mean, variance


def local_response_norm(x, size, alpha, beta, k):
    """Krizhevsky et al. 2012, section 3.3; x is (N, C, M)."""
    n, channels, length = x.shape
    y = torch.zeros_like(x)
    for i, c, j in itertools.product(range(n), range(channels), range(length)):
        near = range(max(0, c - size // 2), min(channels - 1, c + (size - 1) // 2) + 1)
        s = k + alpha * sum(x[i, near_c, j].item() ** 2 for near_c in near)
        y[i, c, j] = x[i, c, j].item() * s**-beta
    return y


def linear(x, weight, bias):
    return torch.tensor(
        [
            [
                bias[o].item()
                + sum(w.item() * v.item() for w, v in zip(weight[o], row, strict=True))
                for o in range(len(weight))
            ]
            for row in x
        ],
        dtype=x.dtype,
    ).reshape(len(x), len(weight))


def cross_entropy(logits, q):
    """Per image, - sum of q log softmax(z)."""
    losses = []
    for z, truth in zip(logits.tolist(), q.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(v) for v in z))
        losses.append(sum(t * (log_sum - v) for t, v in zip(truth, z, strict=True)))
    return torch.tensor(losses, dtype=logits.dtype)
