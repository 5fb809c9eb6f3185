#include "mailbox/delivery.h"

#include <string.h>

#include "mailbox/forward.h"
#include "mailbox/mbox_head.h"
#include "mailbox/way.h"
#include "relay/base/base32.h"
#include "relay/base/buf.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/mail_log.h"
#include "relay/net/work.h"

struct recipient {
	struct span address;            /* canonical, as given */
	const struct boxes_target *targets;
	size_t target_count;
	struct reply reply;
};

/* A copy for one box of one recipient, or to be forwarded. */
struct copy {
	bool is_forward;
	struct worker_post post;
	struct forward_copy forward;
	struct delivery *delivery;
	size_t rcpt;
};

struct delivery {
	struct delivery_place *place;
	struct loop *home;
	struct mailbox_config *config;
	struct arena arena;
	struct delivery_client client;
	const struct delivery_ops *ops;
	void *ctx;
	bool is_lent;
	bool is_orphan;

	struct span sender;
	struct span origin;
	bool smtputf8;
	struct recipient *rcpts;
	size_t rcpt_count;
	size_t rcpt_capacity;
	struct letter *letter;
	uint64_t id;                    /* of the first copy: for the log */

	struct copy *copies;
	size_t copy_count;
	size_t copies_open;             /* hub */
	struct loop_post post;
	struct work_job spill;
	bool spill_failed;
	struct err err;
};

/* -------------------------------------------------------------------------- life */

struct delivery *
delivery_new(struct delivery_place *place, struct loop *home, struct mailbox_config *config,
	     const struct delivery_client *client, const struct delivery_ops *ops, void *ctx)
{
	struct delivery *delivery = mem_alloc(sizeof(*delivery));
	struct arena *arena = &delivery->arena;

	delivery->place = place;
	delivery->home = home;
	delivery->config = mailbox_config_ref(config);
	delivery->ops = ops;
	delivery->ctx = ctx;
	arena_init(arena, 0);
	delivery->client = *client;
	delivery->client.hello = arena_dup(arena, client->hello);
	delivery->client.address = arena_dup(arena, client->address);
	delivery->client.listener = arena_dup(arena, client->listener);
	delivery->client.tls_version = arena_dup(arena, client->tls_version);
	delivery->client.tls_cipher = arena_dup(arena, client->tls_cipher);
	delivery->letter = letter_new(&place->budget);
	return delivery;
}

void
delivery_free(struct delivery **delivery_ptr)
{
	struct delivery *delivery = *delivery_ptr;

	if (delivery == NULL)
		return;
	must(!delivery->is_lent);
	letter_release(&delivery->letter);
	mailbox_config_unref(&delivery->config);
	arena_fini(&delivery->arena);
	mem_free(delivery_ptr);
}

bool
delivery_is_lent(const struct delivery *delivery)
{
	return delivery->is_lent;
}

void
delivery_orphan(struct delivery *delivery)
{
	must(delivery->is_lent);
	delivery->is_orphan = true;
}

/* It is back with its owner, if there is one. */
static bool
is_home_again(struct delivery *delivery)
{
	delivery->is_lent = false;
	if (!delivery->is_orphan)
		return true;

	const struct delivery_ops *ops = delivery->ops;
	void *ctx = delivery->ctx;

	delivery_free(&delivery);
	ops->gone(ctx);
	return false;
}

/* ---------------------------------------------------------------------- envelope */

void
delivery_set_sender(struct delivery *delivery, struct span sender, struct span origin,
		    bool smtputf8)
{
	delivery->sender = arena_dup(&delivery->arena, sender);
	delivery->origin = arena_dup(&delivery->arena, origin);
	delivery->smtputf8 = smtputf8;
}

struct span
delivery_sender(const struct delivery *delivery)
{
	return delivery->sender;
}

bool
delivery_add_rcpt(struct delivery *delivery, const struct address *address)
{
	const struct boxes_target *targets = NULL;
	size_t count = boxes_find(delivery->config->boxes, address, &targets);

	if (count == 0)
		return false;
	if (delivery->rcpt_count == delivery->rcpt_capacity) {
		size_t capacity = delivery->rcpt_capacity ? 2 * delivery->rcpt_capacity : 4;
		struct recipient *rcpts = arena_alloc_array(&delivery->arena, capacity,
							    sizeof(*rcpts));

		if (delivery->rcpt_count > 0)
			memcpy(rcpts, delivery->rcpts, delivery->rcpt_count * sizeof(*rcpts));
		delivery->rcpts = rcpts;
		delivery->rcpt_capacity = capacity;
	}
	delivery->rcpts[delivery->rcpt_count++] = (struct recipient){
		.address = address_text(address, &delivery->arena),
		.targets = targets,
		.target_count = count,
	};
	return true;
}

size_t
delivery_rcpt_count(const struct delivery *delivery)
{
	return delivery->rcpt_count;
}

/* -------------------------------------------------------------------------- body */

static void
spill_run(void *ctx)
{
	struct delivery *delivery = ctx;

	delivery->spill_failed = letter_spill(delivery->letter, delivery->place->spool_fd,
					      &delivery->err) < 0;
}

static void
spill_done(void *ctx)
{
	struct delivery *delivery = ctx;
	struct reply reply;

	if (!is_home_again(delivery))
		return;
	if (!delivery->spill_failed) {
		delivery->ops->spilled(delivery->ctx, NULL);
		return;
	}
	log_warn("mailbox: %s", delivery->err.text);
	reply_set(&reply, 452, "4.3.1", "insufficient storage");
	delivery->ops->spilled(delivery->ctx, &reply);
}

size_t
delivery_body(struct delivery *delivery, struct span octets)
{
	size_t taken = letter_append(delivery->letter, octets);

	must(!delivery->is_lent);
	if (taken == octets.len)
		return taken;
	delivery->is_lent = true;
	work_job_init(&delivery->spill, spill_run, spill_done, NULL, delivery);
	must(work_submit(worker_pool(delivery->place->worker), delivery->home, &delivery->spill,
			 NULL) == 0);
	return taken;
}

/* -------------------------------------------------------------------- the copies */

static struct span
delivered_to(const struct recipient *rcpt, size_t target)
{
	struct span address = rcpt->targets[target].delivered_to;

	return address.len > 0 ? address : rcpt->address;
}

/* Recipient as given, and the box where it leads to more than one. */
static struct intent_key
make_key(struct delivery *delivery, const struct recipient *rcpt, size_t target)
{
	struct buf text;
	struct intent_key key;

	buf_init(&text, 4 * ADDRESS_TEXT_BYTES_MAX);
	(void)buf_append(&text, rcpt->address);
	if (rcpt->target_count > 1 && rcpt->targets[target].box != NULL) {
		(void)buf_append_byte(&text, '\0');
		(void)buf_append(&text, rcpt->targets[target].box->address);
	}
	key = intent_key_make(delivery->origin, buf_span(&text));
	buf_fini(&text);
	return key;
}

static void copy_done(void *ctx, struct worker_post *post);

/* Trace fields as the wire has them; who delivers in the end adds Return-Path. */
static int
compose_forward(const struct trace_received *received, struct span delivered_to, struct buf *out)
{
	if (trace_fields_delivered_to(delivered_to, out) < 0)
		return -1;
	return trace_fields_received(received, out);
}

static int
compose_head(const struct delivery *delivery, const struct recipient *rcpt, size_t target,
	     struct span id_text, struct buf *out)
{
	const struct delivery_client *client = &delivery->client;
	const struct box *box = rcpt->targets[target].box;
	const struct trace_received received = {
		.client_hello = client->hello,
		.client_address = client->address,
		.hostname = span_from_cstr(delivery->config->node.hostname),
		.protocol = client->protocol,
		.smtputf8 = delivery->smtputf8,
		.tls_version = client->tls_version,
		.tls_cipher = client->tls_cipher,
		.tls_verified = client->tls_verified,
		.queue_id = id_text,
		.for_address = rcpt->address,
		.wall_ms = loop_wall_ms(delivery->home),
	};
	const struct mbox_head head = {
		.from_line = box != NULL && box->kind == BOXES_MBOX,
		.sender = delivery->sender,
		.original_to = rcpt->address,
		.delivered_to = delivered_to(rcpt, target),
		.received = &received,
	};

	if (box == NULL)
		return compose_forward(&received, head.delivered_to, out);
	return mbox_head_compose(&head, out);
}

static int
make_copy(struct delivery *delivery, struct copy *copy, size_t rcpt_index, size_t target,
	  uint64_t id)
{
	const struct recipient *rcpt = &delivery->rcpts[rcpt_index];
	char id_text[BASE32_U64_BYTES];
	struct buf out;
	size_t id_at = 0;
	int result;

	base32_print_u64(id, id_text);
	buf_init(&out, MBOX_HEAD_BYTES_MAX);
	result = compose_head(delivery, rcpt, target, span_make(id_text, BASE32_U64_CHARS), &out);
	if (result == 0 &&
	    !span_find(buf_span(&out), span_make(id_text, BASE32_U64_CHARS), &id_at))
		result = -1;
	*copy = (struct copy){
		.is_forward = rcpt->targets[target].box == NULL,
		.post = {
			.box = rcpt->targets[target].box,
			.letter = delivery->letter,
			.head = arena_dup(&delivery->arena, buf_span(&out)),
			.delivery_id = id,
			.id_at = (uint32_t)id_at,
			.has_key = delivery->origin.len > 0,
			.done = copy_done,
			.ctx = copy,
		},
		.forward = { .to = rcpt->targets[target].forward_to },
		.delivery = delivery,
		.rcpt = rcpt_index,
	};
	copy->forward.head = copy->post.head;
	if (copy->post.has_key)
		copy->post.key = make_key(delivery, rcpt, target);
	buf_fini(&out);
	return result;
}

/* The copies of one recipient, or its verdict when there are to be none. */
static void
make_copies(struct delivery *delivery, size_t rcpt_index, const struct way *way,
	    struct delivery_ids *ids)
{
	struct recipient *rcpt = &delivery->rcpts[rcpt_index];

	if (way->received_count > delivery->config->received_count_max) {
		reply_set(&rcpt->reply, 554, "5.4.6", "too many hops: this message is in a loop");
		return;
	}
	for (size_t i = 0; i < rcpt->target_count; i++)
		if (way_has_box(way, delivered_to(rcpt, i))) {
			reply_set(&rcpt->reply, 554, "5.4.6",
				  "this message was delivered to this box before: it is in a loop");
			return;
		}

	size_t first = delivery->copy_count;

	for (size_t i = 0; i < rcpt->target_count; i++) {
		uint64_t id = delivery_ids_next(ids, loop_wall_ms(delivery->home));

		if (delivery->id == 0)
			delivery->id = id;
		if (make_copy(delivery, &delivery->copies[delivery->copy_count], rcpt_index, i,
			      id) < 0) {
			/* Names so long that no header can hold them: nothing was begun. */
			delivery->copy_count = first;
			reply_set(&rcpt->reply, 554, "5.6.0", "cannot make its trace fields");
			return;
		}
		delivery->copy_count++;
	}
}

/* ----------------------------------------------------------------------- verdicts */

static void
log_outcome(const struct delivery *delivery, const struct copy *copy)
{
	const struct mail_log_stored stored = {
		.id = copy->post.delivery_id,
		.origin = delivery->origin,
		.sender = delivery->sender,
		.rcpt = delivery->rcpts[copy->rcpt].address,
		.box = copy->is_forward ? copy->forward.to : span_from_cstr(copy->post.box->path),
		.bytes = letter_bytes(delivery->letter),
	};

	if (copy->post.absorbed)
		mail_log_absorbed(&stored);
	else if (reply_is_positive(&copy->post.reply))
		mail_log_stored(&stored);
}

static void
log_refusal(const struct delivery *delivery, const struct recipient *rcpt)
{
	const struct mail_log_refused refused = {
		.stage = SPAN("data"),
		.sender = delivery->sender,
		.rcpt = rcpt->address,
		.client_address = delivery->client.address,
		.client_hello = delivery->client.hello,
		.listener = delivery->client.listener,
		.protocol = delivery->client.protocol,
		.reply = &rcpt->reply,
	};

	mail_log_refused(&refused);
}

/* A recipient's verdict is good when all its copies are; else it is the worst of them. */
static void
decide(struct delivery *delivery)
{
	char id_text[BASE32_U64_BYTES];

	for (size_t i = 0; i < delivery->copy_count; i++) {
		const struct copy *copy = &delivery->copies[i];
		struct recipient *rcpt = &delivery->rcpts[copy->rcpt];

		log_outcome(delivery, copy);
		if (rcpt->reply.code != 0 && !reply_is_positive(&rcpt->reply))
			continue;
		rcpt->reply = copy->post.reply;
		if (!reply_is_positive(&rcpt->reply))
			continue;
		base32_print_u64(copy->post.delivery_id, id_text);
		reply_set(&rcpt->reply, 250, "2.0.0", "%s %s", id_text,
			  copy->post.absorbed ? "stored before" : "stored");
	}
	for (size_t i = 0; i < delivery->rcpt_count; i++)
		if (!reply_is_positive(&delivery->rcpts[i].reply))
			log_refusal(delivery, &delivery->rcpts[i]);
}

/* ------------------------------------------------------------------------ forwards */

/* Would a copy of this recipient be made again, because another of its copies failed? */
static bool
comes_again(const struct delivery *delivery, const struct copy *copy)
{
	for (size_t i = 0; i < delivery->copy_count; i++) {
		const struct copy *other = &delivery->copies[i];

		if (other->rcpt == copy->rcpt && !other->is_forward &&
		    !reply_is_positive(&other->post.reply))
			return true;
	}
	return false;
}

static void
forwarded(void *ctx)
{
	struct delivery *delivery = ctx;

	for (size_t i = 0; i < delivery->copy_count; i++) {
		struct copy *copy = &delivery->copies[i];

		if (copy->is_forward && copy->forward.reply.code != 0)
			copy->post.reply = copy->forward.reply;
	}
	decide(delivery);
	if (is_home_again(delivery))
		delivery->ops->decided(delivery->ctx);
}

/* What is to be forwarded goes when the boxes have theirs.  False when nothing is. */
static bool
begin_forwards(struct delivery *delivery)
{
	const struct forward_settings settings = {
		.route = &delivery->config->forward,
		.hostname = delivery->config->node.hostname,
		.loop = delivery->home,
		.pool = worker_pool(delivery->place->worker),
		.letter = delivery->letter,
		.sender = delivery->sender,
		.origin = delivery->origin,
		.smtputf8 = delivery->smtputf8,
	};
	struct forward_copy **copies = arena_alloc_array(&delivery->arena, delivery->copy_count,
							 sizeof(struct forward_copy *));
	size_t count = 0;

	for (size_t i = 0; i < delivery->copy_count; i++) {
		struct copy *copy = &delivery->copies[i];

		if (!copy->is_forward)
			continue;
		reply_set(&copy->post.reply, 451, "4.4.0", "not forwarded yet");
		if (!comes_again(delivery, copy))
			copies[count++] = &copy->forward;
	}
	if (count == 0)
		return false;
	(void)forward_start(&settings, copies, count, forwarded, delivery);
	return true;
}

static void
come_home(void *ctx)
{
	struct delivery *delivery = ctx;

	if (!begin_forwards(delivery))
		forwarded(delivery);
}

/* ------------------------------------------------------------------------ the hub */

static void
copy_is_through(struct delivery *delivery)
{
	must(delivery->copies_open > 0);
	delivery->copies_open--;
	if (delivery->copies_open > 0)
		return;
	loop_post_init(&delivery->post, come_home, delivery);
	loop_post(delivery->home, &delivery->post);
}

static void
copy_done(void *ctx, struct worker_post *post)
{
	struct copy *copy = ctx;

	must(post == &copy->post);
	copy_is_through(copy->delivery);
}

static void
arrive_at_hub(void *ctx)
{
	struct delivery *delivery = ctx;

	/* One more, so that none of them is the last before all are on their way. */
	delivery->copies_open = 1;
	for (size_t i = 0; i < delivery->copy_count; i++) {
		if (delivery->copies[i].is_forward)
			continue;
		delivery->copies_open++;
		worker_submit(delivery->place->worker, &delivery->copies[i].post);
	}
	copy_is_through(delivery);
}

bool
delivery_finish(struct delivery *delivery, struct delivery_ids *ids)
{
	struct way way;
	size_t copy_count = 0;

	must(!delivery->is_lent && delivery->rcpt_count > 0);
	letter_seal(delivery->letter);
	way_read(&way, letter_header(delivery->letter));
	for (size_t i = 0; i < delivery->rcpt_count; i++)
		copy_count += delivery->rcpts[i].target_count;
	delivery->copies = arena_alloc_array(&delivery->arena, copy_count,
					     sizeof(*delivery->copies));
	for (size_t i = 0; i < delivery->rcpt_count; i++)
		make_copies(delivery, i, &way, ids);
	if (delivery->copy_count == 0) {
		decide(delivery);
		return false;
	}
	delivery->is_lent = true;
	loop_post_init(&delivery->post, arrive_at_hub, delivery);
	loop_post(delivery->place->hub, &delivery->post);
	return true;
}

const struct reply *
delivery_verdict(const struct delivery *delivery, size_t index)
{
	must(!delivery->is_lent && index < delivery->rcpt_count);
	return &delivery->rcpts[index].reply;
}
