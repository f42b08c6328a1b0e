"""LitServe: one worker process behind its server, no queue that outlives it and no stored results."""

import litserve

from benchmarks.peers.echo import PORT, answer


class Echo(litserve.LitAPI):
    def setup(self, device: str) -> None:
        """Needs nothing."""

    def decode_request(self, request) -> str:  # noqa: ANN001 - LitServe reads the annotation as one of FastAPI
        return request["messages"]

    def predict(self, text: str) -> str:
        return answer(text)

    def encode_response(self, output: str) -> dict[str, str]:
        return {"reply": output}


if __name__ == "__main__":
    litserve.LitServer(Echo(), accelerator="cpu").run(
        host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning", access_log=False
    )
