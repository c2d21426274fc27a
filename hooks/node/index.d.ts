import type { Context, Span } from "@opentelemetry/api";

/** `preRequestHook` of @opentelemetry/instrumentation-aws-sdk: learns which attributes are the key of a DynamoDB table. */
export function preRequestHook(span: Span, info: { request: { serviceName: string; commandName: string; commandInput: any } }): void;

/** `responseHook` of @opentelemetry/instrumentation-aws-sdk: writes the keys of what the call sent, or received. */
export function responseHook(
  span: Span,
  info: { response: { data: any; request: { serviceName: string; commandName: string; commandInput: any; region?: string } } },
): void;

/** `requestHook` of @opentelemetry/instrumentation-aws-lambda: writes the keys of what the function received. */
export function requestHook(span: Span, info: { event: any; context?: any }): void;

/** `eventContextExtractor` of @opentelemetry/instrumentation-aws-lambda: a single message's trace context becomes the parent. */
export function eventContextExtractor(event: any, context?: any): Context;

/** The options for `AwsInstrumentation`, with the hooks. The hooks in `config` are called too. */
export function awsSdkConfig<T extends object>(config?: T): T & {
  preRequestHook: (span: Span, info: any) => void;
  responseHook: (span: Span, info: any) => void;
};

/** The options for `AwsLambdaInstrumentation`, with the hooks. A `requestHook` in `config` is called too. */
export function awsLambdaConfig<T extends object>(config?: T): T & {
  requestHook: (span: Span, info: any) => void;
  eventContextExtractor: (event: any, context: any) => Context;
};

/** For Lambda layers of OpenTelemetry: sets their `configureAwsInstrumentation` and `configureLambdaInstrumentation`. */
export function configureLayer(): void;
