/* What a step costs on one machine: bytes and operations of a model's parts, and the seconds they take. */
#include "planner/cost.h"

#include "essaim/panels.h"
#include "essaim/quant.h"

#include <math.h>

const es_cost_rates ES_COST_RATES = {
    .read = {[ES_FORMAT_F32] = 0.85,
             [ES_FORMAT_F16] = 0.75,
             [ES_FORMAT_BF16] = 0.80,
             [ES_FORMAT_FP8] = 0.70,
             [ES_FORMAT_Q8_0] = 0.87,
             [ES_FORMAT_Q4_0] = 0.83,
             [ES_FORMAT_Q5_0] = 0.80,
             [ES_FORMAT_Q5_1] = 0.80,
             [ES_FORMAT_Q4_K] = 0.85,
             [ES_FORMAT_Q5_K] = 0.82,
             [ES_FORMAT_Q6_K] = 0.82,
             [ES_FORMAT_IQ4_NL] = 0.80},
    .multiply = {[ES_FORMAT_F32] = 0.70,
                 [ES_FORMAT_F16] = 0.65,
                 [ES_FORMAT_BF16] = 0.65,
                 [ES_FORMAT_FP8] = 0.60,
                 [ES_FORMAT_Q8_0] = 0.50,
                 [ES_FORMAT_Q4_0] = 0.48,
                 [ES_FORMAT_Q5_0] = 0.46,
                 [ES_FORMAT_Q5_1] = 0.45,
                 [ES_FORMAT_Q4_K] = 0.48,
                 [ES_FORMAT_Q5_K] = 0.46,
                 [ES_FORMAT_Q6_K] = 0.46,
                 [ES_FORMAT_IQ4_NL] = 0.46},
    .attend = 0.25,
    .join_s = 5e-6,
    .call_s = 60e-6,
    .encrypt_bytes_per_s = 0.7e9,
};

/* Adds a matrix that is multiplied; false when its size does not fit. */
static bool add(es_cost_matrices *to, size_t rows, size_t cols, size_t count)
{
    es_format format = es_format_is_quant(to->format) ? es_quant_fallback(to->format, cols) : to->format;
    size_t bytes;
    if (!es_panels_bytes(format, rows, cols, &bytes)) return false;
    to->bytes += (double)bytes * (double)count;
    to->weights += (double)rows * (double)cols * (double)count;
    to->products += 1;
    return true;
}

static bool add_ffn(es_cost_matrices *to, size_t hidden, size_t intermediate)
{
    return intermediate == 0 || (add(to, intermediate, hidden, 2) && add(to, hidden, intermediate, 1));
}

static bool add_attention(es_cost_matrices *to, const es_shape *s)
{
    size_t q = s->heads * (s->nope + s->rope);
    bool fits = s->q_lora == 0 ? add(to, q, s->hidden, 1)
                               : add(to, s->q_lora, s->hidden, 1) && add(to, q, s->q_lora, 1);
    return fits && add(to, s->kv_lora + s->rope, s->hidden, 1) && add(to, s->kv_lora, s->nope, s->heads) &&
           add(to, s->v, s->kv_lora, s->heads) && add(to, s->hidden, s->heads * s->v, 1);
}

es_status es_cost_model_make(const es_shape *shape, es_format format, size_t kv_value_bytes,
                             es_cost_model *ret_model, es_err *err)
{
    es_cost_model m = {.shape = shape};
    m.attention.format = m.dense.format = m.shared.format = m.expert.format = format;
    es_format ends = format == ES_FORMAT_FP8 ? ES_FORMAT_BF16 : format;
    m.head.format = ends;
    bool fits = add_attention(&m.attention, shape) &&
                add_ffn(&m.dense, shape->hidden, shape->dense_intermediate) &&
                add_ffn(&m.shared, shape->hidden, shape->shared_experts * shape->expert_intermediate) &&
                add_ffn(&m.expert, shape->hidden, shape->expert_intermediate) &&
                add(&m.head, shape->vocab, shape->hidden, 1);
    if (!fits) return es_err_set(err, ES_INVALID, "the model's matrices are too large to count");
    for (size_t layer = 0; layer < shape->layers; layer++)
        m.moe_layers += es_shape_layer_is_moe(shape, layer);
    m.router_weights = (double)shape->experts * (double)shape->hidden;
    m.router_bytes = 4 * m.router_weights;
    m.embedding_bytes = m.head.bytes;
    m.kv_bytes_per_token = (double)(kv_value_bytes * es_shape_kv_width(shape));
    double moe = (double)m.moe_layers, layers = (double)shape->layers;
    m.backbone_bytes = m.embedding_bytes + (shape->tied ? 0 : m.head.bytes) + layers * m.attention.bytes +
                       (layers - moe) * m.dense.bytes + moe * (m.shared.bytes + m.router_bytes);
    m.experts_bytes = moe * (double)shape->experts * m.expert.bytes;
    *ret_model = m;
    return ES_OK;
}

static double known(double measured, double otherwise)
{
    return measured > 0 ? measured : otherwise;
}

double es_cost_product_s(const es_cost_matrices *m, double rows, const es_machine *machine, double share)
{
    double rate = es_format_is_quant(m->format) ? machine->int_ops_per_s : machine->float_ops_per_s;
    double reached = known(machine->read_share[m->format], ES_COST_RATES.read[m->format]);
    double multiplied = known(machine->multiply_share[m->format], ES_COST_RATES.multiply[m->format]);
    double one_row = m->bytes / (machine->read_bytes_per_s * reached * share);
    double multiply = 2 * m->weights / (rate * multiplied * share), more = fmax(rows, 1);
    /* Two limits of which both are felt where they meet; what one row multiplies is in one_row already. */
    return sqrt(one_row * one_row + multiply * multiply * (more * more - 1)) +
           m->products * ES_COST_RATES.join_s;
}

double es_cost_attend_s(const es_cost_model *model, double streams, double rows_each, double context,
                        const es_machine *machine, double share)
{
    const es_shape *s = model->shape;
    double read = streams * context * model->kv_bytes_per_token / (machine->read_bytes_per_s * share);
    double operations = 2 * streams * rows_each * context * (double)(s->heads * (2 * s->kv_lora + s->rope));
    double attended = known(machine->attend_share, ES_COST_RATES.attend);
    return hypot(read, operations / (machine->float_ops_per_s * attended * share));
}

double es_cost_encrypt_s(const es_machine *machine)
{
    return 1 / known(machine->encrypt_bytes_per_s, ES_COST_RATES.encrypt_bytes_per_s);
}

double es_cost_row_bytes(const es_shape *shape)
{
    return (double)shape->hidden * 9 / 8;
}

double es_cost_sum_bytes(const es_shape *shape)
{
    return (double)shape->hidden * 4;
}
