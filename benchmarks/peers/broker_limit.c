/* What the broker can do for one client: publishes persistent messages of 100 bytes, each confirmed, then consumes and
 * acknowledges them. Prints one line of JSON. Built and run by benchmarks/peers/limits.py.
 *
 *   broker_limit PORT QUEUE quorum|classic MESSAGES
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

enum { IN_FLIGHT = 1000, SIZE = 100, ACK_EVERY = 100, CHANNEL = 1 };

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void must(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broker_limit: %s failed\n", what);
        exit(1);
    }
}

static void replied(amqp_connection_state_t connection, const char *what) {
    must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, what);
}

/* Waits for one confirm and returns the highest tag that is confirmed. */
static uint64_t confirmed(amqp_connection_state_t connection) {
    amqp_frame_t frame;
    for (;;) {
        must(amqp_simple_wait_frame(connection, &frame) == AMQP_STATUS_OK, "reading a confirm");
        if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            return ((amqp_basic_ack_t *)frame.payload.method.decoded)->delivery_tag;
        }
        must(frame.frame_type == AMQP_FRAME_HEARTBEAT, "a confirm");
    }
}

static double publish(amqp_connection_state_t connection, amqp_bytes_t queue, int messages) {
    char text[SIZE];
    memset(text, 'x', sizeof text);
    amqp_bytes_t body = {sizeof text, text};
    amqp_basic_properties_t properties = {0};
    properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    properties.delivery_mode = AMQP_DELIVERY_PERSISTENT;
    double began = now();
    uint64_t done = 0;
    for (int sent = 0; done < (uint64_t)messages;) {
        while (sent < messages && (uint64_t)sent - done < IN_FLIGHT) {
            int status = amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, queue, 0, 0, &properties, body);
            must(status == AMQP_STATUS_OK, "publishing");
            sent++;
        }
        /* Confirms of one publisher come in order for one queue; `multiple` covers the tags below. */
        uint64_t tag = confirmed(connection);
        done = tag > done ? tag : done;
    }
    return messages / (now() - began);
}

static double consume(amqp_connection_state_t connection, amqp_bytes_t queue, int messages) {
    amqp_basic_qos(connection, CHANNEL, 0, IN_FLIGHT, 0);
    replied(connection, "setting the prefetch");
    amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    replied(connection, "consuming");
    double began = now();
    for (int received = 1; received <= messages; received++) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(connection);
        amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, NULL, 0);
        must(reply.reply_type == AMQP_RESPONSE_NORMAL, "receiving");
        must(envelope.message.body.len == SIZE, "the length of a message");
        if (received % ACK_EVERY == 0 || received == messages) {
            must(amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 1) == 0, "acknowledging");
        }
        amqp_destroy_envelope(&envelope);
    }
    return messages / (now() - began);
}

int main(int count, char **arguments) {
    must(count == 5, "reading the arguments PORT QUEUE quorum|classic MESSAGES");
    int messages = atoi(arguments[4]);
    amqp_bytes_t queue = amqp_cstring_bytes(arguments[2]);

    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    must(socket != NULL && amqp_socket_open(socket, "127.0.0.1", atoi(arguments[1])) == AMQP_STATUS_OK, "connecting");
    amqp_rpc_reply_t login = amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    must(login.reply_type == AMQP_RESPONSE_NORMAL, "the login");
    amqp_channel_open(connection, CHANNEL);
    replied(connection, "opening a channel");

    amqp_table_entry_t type = {amqp_cstring_bytes("x-queue-type"), {AMQP_FIELD_KIND_UTF8, {0}}};
    type.value.value.bytes = amqp_cstring_bytes(arguments[3]);
    amqp_table_t table = {1, &type};
    amqp_queue_declare(connection, CHANNEL, queue, 0, 1, 0, 0, table);
    replied(connection, "declaring the queue");
    amqp_confirm_select(connection, CHANNEL);
    replied(connection, "confirm mode");

    double published = publish(connection, queue, messages);
    double consumed = consume(connection, queue, messages);
    amqp_queue_delete(connection, CHANNEL, queue, 0, 0);
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    printf("{\"publish\": %.0f, \"consume\": %.0f}\n", published, consumed);
    return 0;
}
