/** The one error shape of the server, as an exception. */

export interface Problem {
  code: string;
  message: string;
}

export interface ErrorBody {
  code: string;
  message: string;
  fields: Record<string, Problem[]>;
  requestId: string | null;
  retryAfter?: number;
}

export class ApiError extends Error {
  constructor(
    readonly body: ErrorBody,
    readonly status = 0,
  ) {
    super(body.message);
  }

  get code(): string {
    return this.body.code;
  }

  /** What a person should read: the first problem of a field, or else the message. */
  get reason(): string {
    return Object.values(this.body.fields)[0]?.[0]?.message ?? this.message;
  }

  /** The first problem of a field, for the form that shows it. */
  problemOf(field: string): string | undefined {
    return this.body.fields[field]?.[0]?.message;
  }
}

/** No answer came: the network or the server is away, so the same call may succeed later. */
export class Unreachable extends ApiError {
  constructor() {
    super({ code: "unreachable", message: "The server cannot be reached.", fields: {}, requestId: null });
  }
}

/** Something is larger than the server takes; it was not sent. */
export class TooLarge extends ApiError {
  constructor(message = "A file has at most 25 MB.") {
    super({ code: "body_too_large", message, fields: {}, requestId: null }, 413);
  }
}

export function isErrorBody(value: unknown): value is { error: ErrorBody } {
  return typeof value === "object" && value !== null && "error" in value;
}

/** What to tell a person about whatever went wrong. */
export const reasonOf = (error: unknown): string =>
  error instanceof ApiError ? error.reason : "That did not work.";
